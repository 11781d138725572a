#include "models/encoders/t5_config.h"

#include <map>
#include <vector>

#include "base/nearest.h"
#include "base/quote.h"
#include "config/json_fields.h"

namespace rushes {
namespace {

// Sizes beyond any real model, so that products stay far from 2^63.
constexpr double kMostSize = 1 << 24;

const std::map<std::string, Activation> kActivations = {
    {"relu", Activation::relu},
    {"gelu", Activation::gelu},
    {"gelu_python", Activation::gelu},
    {"gelu_new", Activation::gelu_tanh},
    {"gelu_accurate", Activation::gelu_tanh},
    {"gelu_python_tanh", Activation::gelu_tanh},
    {"gelu_pytorch_tanh", Activation::gelu_tanh},
    {"silu", Activation::silu},
    {"swish", Activation::silu},
    {"quick_gelu", Activation::quick_gelu},
    {"tanh", Activation::tanh},
    {"sigmoid", Activation::sigmoid},
    {"linear", Activation::linear},
};

// Training, the decoder, generation, and how a file was written: no encoder's result depends on them.
const std::vector<std::string> kHarmless = {
    "architectures",
    "classifier_dropout",
    "decoder_start_token_id",
    "dropout_rate",
    "dtype",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "is_encoder_decoder",
    "label2id",
    "model_type",
    "n_positions",
    "num_decoder_layers",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "problem_type",
    "return_dict",
    "scalable_attention",
    "scale_decoder_outputs",
    "task_specific_params",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_cache",
};

void read_feed_forward(JsonFields& fields, T5Config& result) {
  const bool t5 = result.variant == T5Variant::t5;
  const std::string kind = fields.text("feed_forward_proj", t5 ? "relu" : "gated-gelu");
  const std::string gate = "gated-";
  const bool gated = kind.starts_with(gate);
  std::string name = gated ? kind.substr(gate.size()) : kind;
  if (name.find('-') != std::string::npos) {
    fields.problem("feed_forward_proj", quote_name(kind), " is neither an activation nor '", gate,
                   "' and one");
  }
  if (kind == "gated-gelu") name = "gelu_new";
  // Where they are written out, these two count.
  result.gated = fields.boolean("is_gated_act", gated);
  const std::string key = fields.has("dense_act_fn") ? "dense_act_fn" : "feed_forward_proj";
  name = fields.text("dense_act_fn", name);
  const auto known = kActivations.find(name);
  if (known == kActivations.end()) {
    std::vector<std::string> names;
    for (const auto& [each, activation] : kActivations)
      names.push_back(each);
    fields.problem(key, "the activation ", quote_name(name), " is not supported (", join(names, ", "), ")",
                   did_you_mean(name, names));
  } else {
    result.activation = known->second;
  }
}

}  // namespace

T5Config parse_t5_config(const nlohmann::json& config, T5Variant variant, const std::string& where) {
  JsonFields fields(config, where);
  const bool t5 = variant == T5Variant::t5;
  T5Config result;
  result.variant = variant;
  const auto size = [&](const char* key, int64_t otherwise) {
    const int64_t value = fields.integer(key, otherwise);
    fields.range(key, static_cast<double>(value), 1, kMostSize);
    return value;
  };
  result.vocab_size = size("vocab_size", t5 ? 32128 : 250112);
  result.d_model = size("d_model", 512);
  result.d_kv = size("d_kv", 64);
  result.d_ff = size("d_ff", t5 ? 2048 : 1024);
  result.num_layers = size("num_layers", t5 ? 6 : 8);
  result.num_heads = size("num_heads", t5 ? 8 : 6);
  result.relative_attention_num_buckets = size("relative_attention_num_buckets", 32);
  result.relative_attention_max_distance = size("relative_attention_max_distance", 128);
  const int64_t exact = result.relative_attention_num_buckets / 4;
  if (exact < 1) fields.problem("relative_attention_num_buckets", "must be at least 4");
  if (result.relative_attention_max_distance <= exact) {
    fields.problem("relative_attention_max_distance", result.relative_attention_max_distance,
                   " must be more than a quarter of relative_attention_num_buckets (", exact, ")");
  }
  result.layer_norm_epsilon = fields.number("layer_norm_epsilon", 1e-6);
  fields.range("layer_norm_epsilon", result.layer_norm_epsilon, 0, 1);
  read_feed_forward(fields, result);
  fields.only("is_decoder", false);
  fields.harmless(kHarmless);
  fields.finish();
  result.defaults_taken = fields.defaults_taken();
  return result;
}

}  // namespace rushes
