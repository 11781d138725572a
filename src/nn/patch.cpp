#include "nn/patch.h"

#include "base/error.h"

namespace rushes {

PatchEmbed3d::PatchEmbed3d(TensorLoader& loader, const std::string& name, int64_t channels, int64_t dim,
                           const std::array<int64_t, 3>& patch)
    : patch_(patch),
      linear_(take_weight(loader, {{name + ".weight", {dim, channels, patch[0], patch[1], patch[2]}}}),
              loader.take(name + ".bias", {dim})) {}

at::Tensor PatchEmbed3d::cut(const at::Tensor& x) const {
  RUSHES_CHECK(x.dim() == 5, "x ", x.sizes());
  const auto [t, h, w] = patch_;
  RUSHES_CHECK(x.size(2) % t == 0 && x.size(3) % h == 0 && x.size(4) % w == 0, "x ", x.sizes(), ", patch ", t,
               " x ", h, " x ", w);
  // [batch, channels, frames, t, rows, h, columns, w], then the tokens' dims before the patch's.
  const at::Tensor blocks =
      x.to(linear_.dtype()).unflatten(4, {-1, w}).unflatten(3, {-1, h}).unflatten(2, {-1, t});
  return blocks.permute({0, 2, 4, 6, 1, 3, 5, 7}).flatten(4).flatten(1, 3);
}

at::Tensor unpatchify(const at::Tensor& x, const std::array<int64_t, 3>& grid,
                      const std::array<int64_t, 3>& patch) {
  const auto [t, h, w] = patch;
  RUSHES_CHECK(x.dim() == 3 && x.size(1) == grid[0] * grid[1] * grid[2] && x.size(2) % (t * h * w) == 0, "x ",
               x.sizes());
  return x.unflatten(2, {t, h, w, -1})
      .unflatten(1, {grid[0], grid[1], grid[2]})
      .permute({0, 7, 1, 4, 2, 5, 3, 6})
      .contiguous()
      .view({x.size(0), -1, grid[0] * t, grid[1] * h, grid[2] * w});
}

}  // namespace rushes
