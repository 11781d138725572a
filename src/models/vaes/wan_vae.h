#pragma once
// AutoencoderKLWan of diffusers 0.42 (Wan 2.1 and 2.2): video to latents and back, in chunks of frames.

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/interfaces.h"
#include "models/vaes/wan_vae_coders.h"
#include "models/vaes/wan_vae_config.h"

namespace rushes {

/// Coding in overlapping tiles that are blended, as diffusers' `enable_tiling` does (its defaults), for large
/// pictures on small memory. The result differs from that without tiles. In pixels of the video; with
/// patch_size, encoding counts patches instead, as diffusers does. A group (StepContext::vae) does not share
/// tiles out: rank 0 decodes alone, and every rank encodes all of them itself.
struct WanTiling {
  int64_t tile_height = 256, tile_width = 256;      // larger pictures are cut into tiles of this size
  int64_t stride_height = 192, stride_width = 192;  // from one tile to the next
};

/// Tiles for a picture of this size, with StepContext::vae_tiles: the defaults above along a side that they
/// cut, half of any other side, and again three quarters from one to the next. `unit`: what the sizes count
/// of one latent pixel. Nothing where both sides have less than 4 latent pixels: too few to cut.
std::optional<WanTiling> wan_tiles_for(int64_t height, int64_t width, int64_t unit);

class WanVae : public Vae {
 public:
  /// Takes every parameter out of the loader.
  WanVae(WanVaeConfig config, TensorLoader& loader);

  // A group (context.vae) splits the picture by rows of latents, as even_sizes() does; a rank for which none
  // is left takes no part. It equals the unsplit result but for the order of sums inside of a convolution or
  // an attention. A trace sees this rank's rows.

  /// z: [B, z_dim, T, H, W], cast to dtype() -> [B, C, decoded_frames(T), H', W'] in [-1, 1].
  at::Tensor decode(const at::Tensor& z, const StepContext& context) const override;
  /// x: [B, C, F, H, W], cast to dtype(). Frames after the last whole group of 4 are dropped, as in
  /// diffusers. UserError where no latent comes out or the sizes do not divide.
  LatentDistribution encode(const at::Tensor& x, const StepContext& context) const override;

  at::ScalarType dtype() const override { return dtype_; }
  int64_t latent_channels() const override { return config_.z_dim; }
  int64_t spatial_ratio() const override { return config_.scale_factor_spatial; }
  int64_t temporal_ratio() const override { return config_.scale_factor_temporal; }
  int64_t built_spatial_ratio() const override { return config_.spatial_factor() * config_.patch_size; }
  int64_t built_temporal_ratio() const override { return config_.temporal_factor(); }
  int64_t input_channels() const override {
    return config_.in_channels / (config_.patch_size * config_.patch_size);
  }
  int64_t video_channels() const override {
    return config_.out_channels / (config_.patch_size * config_.patch_size);
  }
  const std::vector<double>& latents_mean() const override { return config_.latents_mean; }
  const std::vector<double>& latents_std() const override { return config_.latents_std; }
  const WanVaeConfig& config() const { return config_; }

  /// UserError where a tile or stride is smaller than one latent pixel.
  void enable_tiling(const WanTiling& tiling);
  void disable_tiling() { tiling_.reset(); }
  /// See kWanVaeChunkBytes; changes memory and speed, not the result.
  void set_chunk_bytes(int64_t bytes) { chunk_bytes_ = bytes; }

 private:
  // Both between videos in [B, C, T, H, W]; `patches`: after patchify, before unpatchify and clamping.
  // They take and give this rank's rows, of which there are some; `rows`: of what is given.
  at::Tensor decode_patches(const at::Tensor& z, const WanRows& rows, const StepContext& context) const;
  at::Tensor encode_patches(const at::Tensor& patches, const WanRows& rows, const StepContext& context) const;
  /// A whole video to mean and logvar in one tensor (not clamped), by the ranks of context.vae.
  at::Tensor encode_split(const at::Tensor& x, const StepContext& context) const;
  at::Tensor decode_tiles(const at::Tensor& z, const WanTiling& tiling, const StepContext& context) const;
  at::Tensor encode_tiles(const at::Tensor& patches, const WanTiling& tiling,
                          const StepContext& context) const;
  void check_video(const at::Tensor& x) const;
  void check_sides(int64_t height, int64_t width) const;  // of patches
  /// The tiles that a picture of this size in pixels is coded in, as enable_tiling() or the context has it;
  /// nothing: it is coded whole. `of`: pixels that a tile's sizes count as one.
  std::optional<WanTiling> tiling_for(int64_t height, int64_t width, int64_t of,
                                      const StepContext& context) const;

  WanVaeConfig config_;
  at::ScalarType dtype_;
  WanEncoder encoder_;
  WanDecoder decoder_;
  WanConv quant_, post_quant_;
  std::optional<WanTiling> tiling_;
  int64_t chunk_bytes_ = kWanVaeChunkBytes;
};

std::unique_ptr<Vae> make_wan_vae(const nlohmann::json& config, TensorLoader& loader,
                                  const std::string& where);

}  // namespace rushes
