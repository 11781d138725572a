#pragma once
// The work of one rank where several share a clip: what the planner turns into seconds, bytes and memory.

#include <array>
#include <cstddef>
#include <cstdint>

#include "dist/split.h"

namespace rushes {

/// The groups of ranks that talk to each other (dist/groups.h).
enum class Group { cfg, ulysses, ring, sp, dit_tp, tp, vae, replica };
inline constexpr size_t kGroups = 8;

/// What a rank sends inside one group.
struct Sent {
  double bytes = 0;
  double exchanges = 0;  // times that it waits for the others
};

/// One rank's work in one stage of a clip.
struct Load {
  double matmul_flops = 0;     // dense layers
  double attention_flops = 0;  // scores and their products with the values
  double scores = 0;           // of attention: an exponential each
  double conv_flops = 0;       // of wide convolutions that would take as long
  double moved_bytes = 0;      // read and written by what is no product: norms, gates, rotations, copies
  double product_bytes = 0;    // what dense layers and attention read and write; weights, read only, by half
  double calls = 0;            // operations started
  double steps = 0;            // denoising steps
  std::array<Sent, kGroups> sent{};
  double weight_bytes = 0;
  double activation_bytes = 0;  // at the fullest moment

  Sent& to(Group group) { return sent[static_cast<size_t>(group)]; }
  const Sent& to(Group group) const { return sent[static_cast<size_t>(group)]; }
  void send(Group group, int64_t bytes, double times = 1) {
    if (bytes == 0) return;
    to(group).bytes += static_cast<double>(bytes) * times;
    to(group).exchanges += times;
  }
  /// Work added up, the larger of memory.
  void add(const Load& other, double times = 1);
};

/// Bytes of one number.
inline constexpr int64_t kFloat32Bytes = 4;

}  // namespace rushes
