#pragma once
// A video cut into blocks of frames x rows x columns, one token each, and put together again.

#include <ATen/ATen.h>

#include <array>
#include <string>

#include "nn/linear.h"

namespace rushes {

/// A convolution whose stride is its kernel, which is a dense layer on each block's numbers.
class PatchEmbed3d {
 public:
  PatchEmbed3d() = default;
  /// Takes `<name>.weight`, [dim, channels, frames, rows, columns of a patch], and `<name>.bias`.
  PatchEmbed3d(TensorLoader& loader, const std::string& name, int64_t channels, int64_t dim,
               const std::array<int64_t, 3>& patch);

  /// x: [batch, channels, frames, height, width], sides multiples of the patch's -> [batch, tokens, numbers
  /// of a patch], tokens in the order of frames, rows, columns; in the weight's dtype.
  at::Tensor cut(const at::Tensor& x) const;
  /// Any of these tokens -> [batch, tokens, dim].
  at::Tensor embed(const at::Tensor& patches) const { return linear_.forward(patches); }
  at::Tensor forward(const at::Tensor& x) const { return embed(cut(x)); }

 private:
  std::array<int64_t, 3> patch_{};
  Linear linear_;
};

/// x: [batch, tokens, patch frames * rows * columns * channels], channels fastest; tokens as PatchEmbed3d
/// orders `grid` (patches along frames, rows, columns) of them -> [batch, channels, frames, height, width],
/// contiguous.
at::Tensor unpatchify(const at::Tensor& x, const std::array<int64_t, 3>& grid,
                      const std::array<int64_t, 3>& patch);

}  // namespace rushes
