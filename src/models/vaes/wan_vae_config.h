#pragma once
// The config.json of AutoencoderKLWan (diffusers 0.42), and what follows from it without weights.

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/interfaces.h"
#include "models/load.h"

namespace rushes {

struct WanVaeConfig {
  int64_t base_dim = 96;
  int64_t decoder_base_dim = 96;  // absent or null: base_dim
  int64_t z_dim = 16;
  std::vector<int64_t> dim_mult = {1, 2, 4, 4};
  int64_t num_res_blocks = 2;
  std::vector<double> attn_scales;  // of the encoder without is_residual: 1, 0.5, 0.25, ...
  std::vector<bool> temporal_downsample = {false, true, true};  // "temperal_downsample", one a level but last
  std::vector<double> latents_mean, latents_std;                // z_dim of each
  bool is_residual = false;                                     // Wan 2.2: shortcuts around each level
  int64_t in_channels = 3;                                      // after patchify
  int64_t out_channels = 3;                                     // before unpatchify
  int64_t patch_size = 1;                                       // absent or null: 1
  int64_t scale_factor_temporal = 4;  // what pipelines (and tiling) reckon with; absent or null: the levels'
  int64_t scale_factor_spatial = 8;
  std::string defaults_taken;  // JsonFields::defaults_taken()

  int64_t levels() const { return static_cast<int64_t>(dim_mult.size()); }
  /// By how much the levels shrink frames, rows and columns (without patches).
  int64_t temporal_factor() const;
  int64_t spatial_factor() const { return int64_t{1} << (levels() - 1); }
  int64_t video_channels() const { return in_channels / (patch_size * patch_size); }

  /// Frames that `frames` are encoded to: the first alone, then whole groups of 4; what is left is dropped.
  int64_t latent_frames(int64_t frames) const;
  /// Frames that `latent_frames` are decoded to.
  int64_t decoded_frames(int64_t latent_frames) const { return 1 + (latent_frames - 1) * temporal_factor(); }
};

/// Throws UserError listing every field that is wrong, unsupported or unknown; `where` names the file.
WanVaeConfig parse_wan_vae(const nlohmann::json& config, const std::string& where);

/// Whose work is counted: that of one of the ranks that code a clip together (StepContext::vae). Of a decoder
/// rank 0 has as much to do as any; of an encoder the last one may have up to a latent row more.
struct WanVaeShare {
  int64_t ranks = 1, rank = 0;
};

/// Work of coding one clip of `frames` x `height` x `width` pixels in float32. weight_bytes: of the whole
/// VAE. activation_bytes: what a chunk holds at its widest level, beside the clip itself (which rank 0 of a
/// group holds twice while it puts the parts together).
Cost wan_vae_decode_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                         const WanVaeShare& share = {});
Cost wan_vae_encode_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                         const WanVaeShare& share = {});

/// Bytes that the rank sends to others while it codes this clip: rows for its neighbours' convolutions, keys
/// and values of attention, and its part of the result. element_bytes: of the VAE's dtype. Without tiles; a
/// batch sends as many times more.
double wan_vae_decode_traffic(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                              int64_t element_bytes, const WanVaeShare& share);
double wan_vae_encode_traffic(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                              int64_t element_bytes, const WanVaeShare& share);

/// How many of `height` rows of patches each rank encodes: whole latent rows, dealt out by even_sizes(); the
/// last rank that has some also takes the rows beyond the last whole one. height: at least spatial_factor().
std::vector<int64_t> wan_vae_encode_rows(const WanVaeConfig& config, int64_t height, int64_t ranks);

/// A clip in pixels, coded in numbers of `element` bytes.
struct WanVideo {
  int64_t frames = 1, height = 8, width = 8;
  int64_t element = 4;
  bool folds = false;  // float32 on a CPU: convolutions over doubled pictures (wan_vae_layers.h)
};

/// Decoding on the first of `split.vae` ranks, which have runs of rows and send each other one row at every
/// convolution of 3 x 3.
Load wan_vae_decode_load(const WanVaeConfig& config, const WanVideo& video, const Split& split);
/// Encoding on one rank.
Load wan_vae_encode_load(const WanVaeConfig& config, const WanVideo& video);

/// Frames of the encoder's input that go through it together after the first one.
inline constexpr int64_t kWanVaeGroup = 4;
/// How much memory one activation of the widest level may take, where the frames of a chunk can be chosen.
inline constexpr int64_t kWanVaeChunkBytes = int64_t{128} << 20;
/// Latent frames (decoding) or groups of frames (encoding) to code at a time so that it takes no more than
/// `bytes`; at least 1.
int64_t wan_vae_chunk(const WanVaeConfig& config, int64_t bytes, bool decode, int64_t batch,
                      int64_t latent_height, int64_t latent_width, int64_t element_bytes);

}  // namespace rushes
