// Tiles: cut, code each alone, blend where they overlap. Follows diffusers' tiled_encode and tiled_decode,
// whose tile sizes in latents are the pixels' divided (rounding down) by scale_factor_spatial.

#include <algorithm>
#include <functional>
#include <vector>

#include "base/error.h"
#include "models/vaes/wan_vae.h"

namespace rushes {
namespace {

/// Over the first `extent` rows (dim 3) or columns (dim 4) of `tile`, goes evenly over from the last ones of
/// `before` to the tile's own. Written into `tile`.
void blend(const at::Tensor& before, const at::Tensor& tile, int64_t dim, int64_t extent) {
  extent = std::min({before.size(dim), tile.size(dim), extent});
  if (extent <= 0) return;
  std::vector<int64_t> shape(5, 1);
  shape[static_cast<size_t>(dim)] = extent;
  const at::Tensor weight = at::arange(extent, tile.options().dtype(at::kFloat)).div(extent).view(shape);
  const at::Tensor old = before.narrow(dim, before.size(dim) - extent, extent);
  const at::Tensor own = tile.narrow(dim, 0, extent);
  own.copy_(old * (1 - weight) + own * weight);
}

/// One direction of a tiling, in the units of the input (`size`, `stride`) and of the output.
struct TileAxis {
  int64_t size = 0, stride = 0;   // of the input
  int64_t keep = 0, overlap = 0;  // of the output: what stays of each tile, what is blended
  int64_t result = 0;             // of the whole output
};

using Code = std::function<at::Tensor(const at::Tensor& tile)>;

at::Tensor in_tiles(const at::Tensor& input, const TileAxis& rows, const TileAxis& columns,
                    const Code& code) {
  at::Tensor whole;
  std::vector<at::Tensor> above;
  int64_t to_y = 0, to_x = 0;
  for (int64_t y = 0; y < input.size(3); y += rows.stride) {
    std::vector<at::Tensor> row;
    to_x = 0;
    int64_t high = 0;
    for (int64_t x = 0; x < input.size(4); x += columns.stride) {
      const at::Tensor tile =
          code(input.slice(3, y, y + rows.size).slice(4, x, x + columns.size).contiguous());
      if (y > 0) blend(above[row.size()], tile, 3, rows.overlap);
      if (x > 0) blend(row.back(), tile, 4, columns.overlap);
      if (!whole.defined())
        whole = at::zeros({tile.size(0), tile.size(1), tile.size(2), rows.result, columns.result},
                          tile.options());
      const at::Tensor kept = tile.slice(3, 0, rows.keep).slice(4, 0, columns.keep);
      const at::Tensor room = whole.slice(3, to_y, to_y + kept.size(3)).slice(4, to_x, to_x + kept.size(4));
      room.copy_(kept.slice(3, 0, room.size(3)).slice(4, 0, room.size(4)));
      row.push_back(tile);
      high = kept.size(3);
      to_x += kept.size(4);
    }
    above = std::move(row);
    to_y += high;
  }
  return whole.slice(3, 0, to_y).slice(4, 0, to_x).contiguous();
}

}  // namespace

std::optional<WanTiling> wan_tiles_for(int64_t height, int64_t width, int64_t unit) {
  constexpr WanTiling usual;
  const auto cut = [&](int64_t side, int64_t usual_tile, int64_t usual_stride) {
    const int64_t latents = side / unit, half = (latents + 1) / 2;
    if (side > usual_tile) return std::pair(usual_tile, usual_stride);
    if (latents < 4) return std::pair(side, side);
    return std::pair(half * unit, std::max<int64_t>(1, half * 3 / 4) * unit);
  };
  const auto [tile_height, stride_height] = cut(height, usual.tile_height, usual.stride_height);
  const auto [tile_width, stride_width] = cut(width, usual.tile_width, usual.stride_width);
  if (tile_height >= height && tile_width >= width) return std::nullopt;
  return WanTiling{.tile_height = tile_height,
                   .tile_width = tile_width,
                   .stride_height = stride_height,
                   .stride_width = stride_width};
}

void WanVae::enable_tiling(const WanTiling& tiling) {
  const int64_t least = config_.scale_factor_spatial;
  for (int64_t value : {tiling.tile_height, tiling.tile_width, tiling.stride_height, tiling.stride_width}) {
    if (value < least) fail("vae tiling: ", value, " pixels are less than one latent pixel (", least, ")");
  }
  tiling_ = tiling;
}

at::Tensor WanVae::decode_tiles(const at::Tensor& z, const WanTiling& tiling,
                                const StepContext& context) const {
  const int64_t ratio = config_.scale_factor_spatial, p = config_.patch_size;
  const auto axis = [&](int64_t tile, int64_t stride, int64_t size) {
    return TileAxis{.size = tile / ratio,
                    .stride = stride / ratio,
                    .keep = stride / p,
                    .overlap = tile / p - stride / p,
                    .result = size * ratio / p};
  };
  return in_tiles(z, axis(tiling.tile_height, tiling.stride_height, z.size(3)),
                  axis(tiling.tile_width, tiling.stride_width, z.size(4)), [&](const at::Tensor& tile) {
                    return decode_patches(tile, WanRows(nullptr, {tile.size(3)}), context);
                  });
}

at::Tensor WanVae::encode_tiles(const at::Tensor& patches, const WanTiling& tiling,
                                const StepContext& context) const {
  if (config_.scale_factor_spatial % config_.patch_size != 0)
    fail("vae tiling: scale_factor_spatial ", config_.scale_factor_spatial, " is no multiple of patch_size ",
         config_.patch_size);
  const int64_t ratio = config_.scale_factor_spatial / config_.patch_size;
  const auto axis = [&](int64_t tile, int64_t stride, int64_t size) {
    return TileAxis{.size = tile,
                    .stride = stride,
                    .keep = stride / ratio,
                    .overlap = tile / ratio - stride / ratio,
                    .result = size / ratio};
  };
  return in_tiles(patches, axis(tiling.tile_height, tiling.stride_height, patches.size(3)),
                  axis(tiling.tile_width, tiling.stride_width, patches.size(4)), [&](const at::Tensor& tile) {
                    check_sides(tile.size(3), tile.size(4));
                    return encode_patches(tile, WanRows(nullptr, {tile.size(3)}), context);
                  });
}

}  // namespace rushes
