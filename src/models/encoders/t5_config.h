#pragma once
// config.json of UMT5EncoderModel and T5EncoderModel (transformers' UMT5Config and T5Config).

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace rushes {

enum class T5Variant { t5, umt5 };

/// transformers' names for activations; `gelu_tanh` is gelu_new and its like.
enum class Activation { relu, gelu, gelu_tanh, silu, quick_gelu, tanh, sigmoid, linear };

struct T5Config {
  T5Variant variant = T5Variant::umt5;
  int64_t vocab_size = 0;
  int64_t d_model = 0;  // width of the residual stream
  int64_t d_kv = 0;     // width of a head
  int64_t d_ff = 0;     // width inside the feed-forward part
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t relative_attention_num_buckets = 0;
  int64_t relative_attention_max_distance = 0;
  double layer_norm_epsilon = 0;
  bool gated = false;
  Activation activation = Activation::relu;
  std::string defaults_taken;  // JsonFields::defaults_taken()

  int64_t inner() const { return num_heads * d_kv; }
  /// UMT5 has position tables in every layer, T5 in the first only.
  bool has_bias(int64_t layer) const { return variant == T5Variant::umt5 || layer == 0; }
};

/// Every field is read, known to change no encoder's result, or refused. Throws UserError listing all
/// problems; `where` names the file.
T5Config parse_t5_config(const nlohmann::json& config, T5Variant variant, const std::string& where);

}  // namespace rushes
