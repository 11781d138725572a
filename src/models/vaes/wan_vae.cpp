#include "models/vaes/wan_vae.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "dist/comm.h"

namespace rushes {
namespace {

/// [B, C, T, H, W] -> [B, C p p, T, H / p, W / p]; a patch's columns change slower than its rows.
at::Tensor patchify(const at::Tensor& x, int64_t p) {
  if (p == 1) return x;
  const int64_t b = x.size(0), c = x.size(1), t = x.size(2), h = x.size(3) / p, w = x.size(4) / p;
  return x.reshape({b, c, t, h, p, w, p}).permute({0, 1, 6, 4, 2, 3, 5}).reshape({b, c * p * p, t, h, w});
}

at::Tensor unpatchify(const at::Tensor& x, int64_t p) {
  if (p == 1) return x;
  const int64_t b = x.size(0), c = x.size(1) / (p * p), t = x.size(2), h = x.size(3), w = x.size(4);
  return x.reshape({b, c, p, p, t, h, w}).permute({0, 1, 4, 5, 3, 6, 2}).reshape({b, c, t, h * p, w * p});
}

at::Tensor to_bthwc(const at::Tensor& x) {
  return x.permute({0, 2, 3, 4, 1}).contiguous();
}

at::Tensor to_bcthw(const at::Tensor& x) {
  return x.permute({0, 4, 1, 2, 3});
}

std::vector<int64_t> times(std::vector<int64_t> sizes, int64_t factor) {
  for (int64_t& size : sizes)
    size *= factor;
  return sizes;
}

/// Room for the whole result, made when the first chunk says its sizes.
void put(at::Tensor& whole, const at::Tensor& chunk, int64_t at_frame, int64_t frames) {
  if (!whole.defined()) {
    std::vector<int64_t> sizes = chunk.sizes().vec();
    sizes[2] = frames;
    whole = at::empty(sizes, chunk.options());
  }
  whole.narrow(2, at_frame, chunk.size(2)).copy_(chunk);
}

}  // namespace

WanVae::WanVae(WanVaeConfig config, TensorLoader& loader)
    : config_(std::move(config)),
      dtype_(loader.options().dtype),
      encoder_(config_, loader),
      decoder_(config_, loader),
      quant_(loader, "quant_conv",
             {.in = 2 * config_.z_dim, .out = 2 * config_.z_dim, .kernel = {1, 1, 1}, .padding = 0}),
      post_quant_(loader, "post_quant_conv",
                  {.in = config_.z_dim, .out = config_.z_dim, .kernel = {1, 1, 1}, .padding = 0}) {}

std::optional<WanTiling> WanVae::tiling_for(int64_t height, int64_t width, int64_t of,
                                            const StepContext& context) const {
  if (tiling_ && (height > tiling_->tile_height || width > tiling_->tile_width)) return tiling_;
  if (tiling_ || !context.vae_tiles) return std::nullopt;
  return wan_tiles_for(height / of, width / of, config_.scale_factor_spatial / of);
}

at::Tensor WanVae::decode(const at::Tensor& z, const StepContext& context) const {
  if (z.dim() != 5 || z.size(1) != config_.z_dim || z.numel() == 0)
    fail("vae decode: the latents are ", z.sizes(), "; needed are [batch, ", config_.z_dim,
         ", frames, height, width], none of them 0");
  const auto video_of = [&](const at::Tensor& patches) {
    return unpatchify(patches, config_.patch_size).clamp(-1, 1);
  };
  const Comm none;
  const Comm& group = context.vae != nullptr ? *context.vae : none;
  const int64_t pixels = config_.scale_factor_spatial;
  if (const auto tiling = tiling_for(z.size(3) * pixels, z.size(4) * pixels, 1, context))
    return group.rank() == 0 ? video_of(decode_tiles(z.to(dtype_), *tiling, context)) : at::Tensor();
  const WanRows rows(&group, even_sizes(z.size(3), group.size()));
  const int64_t ratio = built_spatial_ratio();
  const at::Tensor own = z.narrow(3, rows.start(), rows.own_rows()).to(dtype_);
  const at::Tensor part =
      own.numel() > 0
          ? video_of(decode_patches(own, rows, context))
          : at::empty({z.size(0), video_channels(), config_.decoded_frames(z.size(2)), 0, z.size(4) * ratio},
                      own.options());
  return group.gather(part, 3, times(rows.heights(), ratio), /*root=*/0);
}

at::Tensor WanVae::decode_patches(const at::Tensor& z, const WanRows& rows,
                                  const StepContext& context) const {
  const int64_t frames = z.size(2);
  // By the largest part, so that all ranks go in step.
  const int64_t chunk = wan_vae_chunk(config_, chunk_bytes_, /*decode=*/true, z.size(0), rows.heights()[0],
                                      z.size(4), z.element_size());
  WanStream stream = decoder_.start(rows);
  const at::Tensor x = post_quant_.forward(to_bthwc(z));
  at::Tensor video;
  int64_t written = 0;
  for (int64_t i = 0; i < frames; i += chunk) {
    const at::Tensor piece = x.narrow(1, i, std::min(chunk, frames - i)).contiguous();
    const at::Tensor out = to_bcthw(decoder_.forward(piece, stream, context));
    put(video, out, written, config_.decoded_frames(frames));
    written += out.size(2);
  }
  return video;
}

void WanVae::check_video(const at::Tensor& x) const {
  const int64_t channels = config_.video_channels();
  if (x.dim() != 5 || x.size(1) != channels || x.numel() == 0)
    fail("vae encode: the video is ", x.sizes(), "; needed are [batch, ", channels,
         ", frames, height, width], none of them 0");
  const int64_t p = config_.patch_size;
  for (int64_t dim : {3, 4}) {
    if (x.size(dim) % p != 0)
      fail("vae encode: ", dim == 3 ? "height " : "width ", x.size(dim), " is no multiple of patch_size ", p);
  }
  if (x.size(2) > kWanVaeGroup && config_.temporal_factor() > kWanVaeGroup)
    fail("vae encode: a model that shrinks time by ", config_.temporal_factor(), " encodes single frames ",
         "only; given are ", x.size(2), " frames");
}

LatentDistribution WanVae::encode(const at::Tensor& x, const StepContext& context) const {
  check_video(x);
  const auto tiling = tiling_for(x.size(3), x.size(4), config_.patch_size, context);
  const at::Tensor both = tiling ? encode_tiles(patchify(x.to(dtype_), config_.patch_size), *tiling, context)
                                 : encode_split(x, context);
  const std::vector<at::Tensor> parts = both.chunk(2, 1);
  return {parts[0].contiguous(), parts[1].clamp(-30, 20)};
}

at::Tensor WanVae::encode_split(const at::Tensor& x, const StepContext& context) const {
  const Comm none;
  const Comm& group = context.vae != nullptr ? *context.vae : none;
  const int64_t p = config_.patch_size, factor = config_.spatial_factor();
  const int64_t height = x.size(3) / p, width = x.size(4) / p;
  check_sides(height, width);
  const std::vector<int64_t> latent_rows = even_sizes(height / factor, group.size());
  const WanRows rows(&group, wan_vae_encode_rows(config_, height, group.size()));
  const at::Tensor own = x.narrow(3, rows.start() * p, rows.own_rows() * p).to(dtype_);
  const at::Tensor part =
      own.numel() > 0
          ? encode_patches(patchify(own, p), rows, context)
          : at::empty({x.size(0), 2 * config_.z_dim, config_.latent_frames(x.size(2)), 0, width / factor},
                      own.options());
  return group.all_gather(part, 3, latent_rows);
}

void WanVae::check_sides(int64_t height, int64_t width) const {
  const int64_t factor = config_.spatial_factor();
  for (const auto& [side, size] : {std::pair{"height", height}, std::pair{"width", width}}) {
    if (size < factor || (config_.is_residual && size % factor != 0))
      fail("vae encode: the ", side, tiling_ ? " (of a tile)" : "", " is ", size * config_.patch_size,
           " pixels; it must be ", config_.is_residual ? "a multiple of " : "at least ",
           factor * config_.patch_size);
  }
}

at::Tensor WanVae::encode_patches(const at::Tensor& patches, const WanRows& rows,
                                  const StepContext& context) const {
  const int64_t frames = 1 + (patches.size(2) - 1) / kWanVaeGroup * kWanVaeGroup;
  const int64_t factor = config_.spatial_factor();
  // By the largest part, so that all ranks go in step.
  const int64_t groups =
      wan_vae_chunk(config_, chunk_bytes_, /*decode=*/false, patches.size(0), rows.heights()[0] / factor + 1,
                    patches.size(4) / factor + 1, patches.element_size());
  WanStream stream = encoder_.start(rows);
  at::Tensor latents;
  int64_t written = 0;
  for (int64_t i = 0; i < frames;) {
    const int64_t count = std::min(frames - i, groups * kWanVaeGroup + (i == 0 ? 1 : 0));
    const at::Tensor out = encoder_.forward(to_bthwc(patches.narrow(2, i, count)), stream, context);
    const at::Tensor quantised = to_bcthw(quant_.forward(out));
    put(latents, quantised, written, config_.latent_frames(frames));
    written += quantised.size(2);
    i += count;
  }
  return latents;
}

std::unique_ptr<Vae> make_wan_vae(const nlohmann::json& config, TensorLoader& loader,
                                  const std::string& where) {
  const WanVaeConfig read = parse_wan_vae(config, where);
  loader.explain(read.defaults_taken);
  auto vae = std::make_unique<WanVae>(read, loader);
  loader.finish();
  return vae;
}

}  // namespace rushes
