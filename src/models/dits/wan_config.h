#pragma once
// config.json of diffusers' WanTransformer3DModel (0.42, models/transformers/transformer_wan.py).

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace rushes {

struct WanConfig {
  std::array<int64_t, 3> patch_size{1, 2, 2};  // latent frames, rows, columns of one token
  int64_t num_attention_heads = 40;
  int64_t attention_head_dim = 128;  // even
  int64_t in_channels = 16;
  int64_t out_channels = 16;
  int64_t text_dim = 4096;  // of the text encoder's states
  int64_t freq_dim = 256;   // of the timestep's sines and cosines
  int64_t ffn_dim = 13824;
  int64_t num_layers = 40;
  bool cross_attn_norm = true;
  double eps = 1e-6;
  std::optional<int64_t> image_dim;          // of the image encoder's states; unset: no image conditioning
  std::optional<int64_t> added_kv_proj_dim;  // set: images have keys and values of their own
  int64_t rope_max_seq_len = 1024;           // most tokens along each axis
  std::optional<int64_t> pos_embed_seq_len;  // set: first and last frame's images are told apart by position
  std::string defaults_taken;                // JsonFields::defaults_taken()

  /// Whether the text's keys and values are kept from step to step beside `tokens` tokens of video on a rank:
  /// they are the same at every step, and beside a short video much of its work and worth their memory;
  /// beside a long one they are neither.
  static bool keeps_text_keys(int64_t text_tokens, int64_t tokens) { return 8 * text_tokens >= tokens; }

  int64_t dim() const { return num_attention_heads * attention_head_dim; }
  int64_t patch_volume() const { return patch_size[0] * patch_size[1] * patch_size[2]; }
};

/// Throws UserError that lists everything wrong; `where` names the file.
WanConfig read_wan_config(const nlohmann::json& config, const std::string& where);

/// Parameters, all of them.
int64_t wan_parameter_count(const WanConfig& config);

}  // namespace rushes
