#pragma once
// Rotary positions of a video's tokens along frames, rows and columns (diffusers' WanRotaryPosEmbed).

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

namespace rushes {

/// cos and sin, float32 [tokens, head dim / 2]: of a head's pairs the first turn with the frame, then as many
/// with the row as with the column (2 * (head dim / 6) numbers each; the frame has the rest). Pair i of n
/// turns by position * 10000^(-i / n), computed in float64 and rounded.
struct RopeTable {
  at::Tensor cos, sin;
};

RopeTable wan_rope_table(int64_t head_dim, const std::array<int64_t, 3>& grid, at::Device device);

/// Keeps the table of the last grid, which all steps and both guidance passes of a clip share. Thread-safe.
class WanRope {
 public:
  explicit WanRope(int64_t head_dim) : head_dim_(head_dim) {}
  /// grid: tokens along frames, rows, columns.
  RopeTable table(const std::array<int64_t, 3>& grid, at::Device device);

 private:
  int64_t head_dim_;
  std::mutex mutex_;
  std::array<int64_t, 3> grid_{};
  std::optional<RopeTable> table_;
};

}  // namespace rushes
