#include "models/encoders/umt5.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/attention.h"
#include "base/error.h"
#include "dist/traffic.h"

namespace rushes {
namespace {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::relu:
      return at::relu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::silu:
      return at::silu(x);
    case Activation::quick_gelu:
      return x * at::sigmoid(1.702 * x);
    case Activation::tanh:
      return at::tanh(x);
    case Activation::sigmoid:
      return at::sigmoid(x);
    case Activation::linear:
      return x;
  }
  throw InternalError("no such activation");
}

double lowest(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return -65504.0;
    case at::kBFloat16:
      return static_cast<double>(std::numeric_limits<c10::BFloat16>::lowest());
    default:
      return static_cast<double>(std::numeric_limits<float>::lowest());
  }
}

/// float16 overflows easily here; the reference cuts what does.
at::Tensor cut_half(at::Tensor x) {
  if (x.scalar_type() != at::kHalf) return x;
  const double limit = at::isinf(x).any().item<bool>() ? 65504.0 - 1000.0 : 65504.0;
  return x.clamp_(-limit, limit);
}

}  // namespace

at::Tensor relative_position_buckets(int64_t tokens, int64_t buckets, int64_t max_distance) {
  const int64_t half = buckets / 2, exact = half / 2;
  const at::Tensor position = at::arange(tokens, at::kLong);
  const at::Tensor relative = position.unsqueeze(0) - position.unsqueeze(1);  // [query, key]
  const at::Tensor distance = relative.abs();
  // In float32 and in this order, as the reference rounds: borders between buckets depend on it. Distance 0
  // gives -inf here, which the choice below drops.
  const at::Tensor far = at::log(distance.clamp_min(1).to(at::kFloat) / static_cast<double>(exact)) /
                         std::log(static_cast<double>(max_distance) / static_cast<double>(exact)) *
                         static_cast<double>(half - exact);
  const at::Tensor large = (far.to(at::kLong) + exact).clamp_max(half - 1);
  return at::where(distance < exact, distance, large) + (relative > 0).to(at::kLong) * half;
}

T5Encoder::T5Encoder(const T5Config& config, TensorLoader& loader)
    : config_(config), heads_(share_of(config.num_heads, loader.options().tp)) {
  const int64_t width = config.d_model, inner = config.inner();
  const Share own = heads_ * config.d_kv, columns = share_of(config.d_ff, loader.options().tp);
  const auto norm = [&](const std::string& name) {
    return RmsNorm(loader, name, width, config.layer_norm_epsilon, RmsNormRounding::before_weight);
  };
  // Both are stored only where someone untied them (or wrote the same twice); then the encoder's own counts.
  const bool untied = loader.has("encoder.embed_tokens.weight");
  embedding_ = VocabEmbedding(loader, untied ? "encoder.embed_tokens" : "shared", config.vocab_size, width);
  loader.ignore("shared.weight");
  const auto wo_dtype = loader.options().dtype == at::kHalf ? std::optional(at::kFloat) : std::nullopt;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string attention = str("encoder.block.", i, ".layer.0."),
                      dense = str("encoder.block.", i, ".layer.1.");
    Block block;
    block.attention_norm = norm(attention + "layer_norm");
    const std::string self = attention + "SelfAttention.";
    block.qkv = ColumnLinear(loader, {self + "q", self + "k", self + "v"}, width, inner, own, /*bias=*/false);
    block.o = RowLinear(loader, self + "o", inner, width, own, /*bias=*/false);
    if (config.has_bias(i)) {
      block.bias = loader.take_part(self + "relative_attention_bias.weight",
                                    {config.relative_attention_num_buckets, config.num_heads}, 1, heads_);
    }
    block.feed_forward_norm = norm(dense + "layer_norm");
    const std::string gates = dense + "DenseReluDense.";
    const std::vector<std::string> wi =
        config.gated ? std::vector{gates + "wi_0", gates + "wi_1"} : std::vector{gates + "wi"};
    block.wi = ColumnLinear(loader, wi, width, config.d_ff, columns, /*bias=*/false);
    block.wo = RowLinear(loader, gates + "wo", config.d_ff, width, columns, /*bias=*/false, wo_dtype);
    blocks_.push_back(std::move(block));
  }
  final_norm_ = norm("encoder.final_layer_norm");
  // A checkpoint of the whole translation model holds the encoder too.
  loader.ignore("decoder.*");
  loader.ignore("lm_head.weight");
  loader.finish();
}

at::Tensor T5Encoder::attention(const Block& block, const at::Tensor& x, const at::Tensor& bias,
                                const StepContext& context) const {
  const at::Tensor normed = block.attention_norm.forward(x);
  const auto heads = [&](const at::Tensor& t) { return t.unflatten(2, {heads_.count, config_.d_kv}); };
  const std::vector<at::Tensor> qkv = block.qkv.forward_all(normed);
  const at::Tensor mixed = attend(
      {.q = heads(qkv[0]), .k = heads(qkv[1]), .v = heads(qkv[2]), .bias = bias, .scale = 1.0}, context);
  return block.o.forward(mixed.flatten(2));
}

at::Tensor T5Encoder::feed_forward(const Block& block, const at::Tensor& x) const {
  const at::Tensor normed = block.feed_forward_norm.forward(x);
  const std::vector<at::Tensor> wi = block.wi.forward_all(normed);
  at::Tensor inside = activate(config_.activation, wi[0]);
  if (config_.gated) inside = inside * wi[1];
  return block.wo.forward(inside);
}

TextEncoderOutput T5Encoder::forward(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                                     bool all_hidden_states, const StepContext& context) const {
  RUSHES_CHECK(input_ids.dim() == 2 && attention_mask.sizes() == input_ids.sizes(), "input_ids ",
               input_ids.sizes(), ", attention_mask ", attention_mask.sizes());
  at::Tensor x = embedding_.forward(input_ids);
  context.note("embed_tokens", x);
  TextEncoderOutput result;
  if (all_hidden_states) result.hidden_states.push_back(x);

  const int64_t tokens = input_ids.size(1);
  const at::Tensor buckets = relative_position_buckets(tokens, config_.relative_attention_num_buckets,
                                                       config_.relative_attention_max_distance)
                                 .to(x.device());
  const at::Tensor seen = attention_mask.to(x.device()) != 0;  // [batch, key]
  const bool all_seen = seen.all().item<bool>();
  const at::Tensor masked = seen.logical_not().view({seen.size(0), 1, 1, tokens});
  at::Tensor bias;  // [1 or batch, heads, query, key]
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    if (block.bias.defined()) {
      bias = at::embedding(block.bias, buckets).permute({2, 0, 1}).unsqueeze(0);
      bias = all_seen
                 ? bias.contiguous()
                 : at::where(masked, at::scalar_tensor(lowest(bias.scalar_type()), bias.options()), bias);
    }
    x = cut_half(x + attention(block, x, bias, context));
    x = cut_half(x + feed_forward(block, x));
    context.note(str("block.", i), x);
    if (all_hidden_states && i + 1 < blocks_.size()) result.hidden_states.push_back(x);
  }
  result.last_hidden_state = final_norm_.forward(x);
  context.note("final_layer_norm", result.last_hidden_state);
  if (all_hidden_states) result.hidden_states.push_back(result.last_hidden_state);
  return result;
}

static std::unique_ptr<TextEncoder> make_encoder(const T5Config& config, TensorLoader& loader) {
  loader.explain(config.defaults_taken);
  return std::make_unique<T5Encoder>(config, loader);
}

std::unique_ptr<TextEncoder> make_umt5_encoder(const nlohmann::json& config, TensorLoader& loader,
                                               const std::string& where) {
  return make_encoder(parse_t5_config(config, T5Variant::umt5, where), loader);
}

std::unique_ptr<TextEncoder> make_t5_encoder(const nlohmann::json& config, TensorLoader& loader,
                                             const std::string& where) {
  return make_encoder(parse_t5_config(config, T5Variant::t5, where), loader);
}

Cost umt5_cost(const nlohmann::json& json, int64_t tokens) {
  const bool t5 = json.is_object() && json.contains("model_type") && json["model_type"] == "t5";
  const T5Config config = parse_t5_config(json, t5 ? T5Variant::t5 : T5Variant::umt5, "text encoder");
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  const double n = real(tokens), width = real(config.d_model), inner = real(config.inner()),
               ff = real(config.d_ff);
  const double layers = real(config.num_layers), heads = real(config.num_heads);
  const double dense = config.gated ? 3 : 2;  // matrices of the feed-forward part
  const double matrices = 4 * width * inner + dense * width * ff;
  const double tables = real(config.relative_attention_num_buckets) * heads;
  Cost cost;
  cost.flops = layers * (2 * n * matrices + 4 * n * n * inner);
  cost.weight_bytes = 4 * (real(config.vocab_size) * width + layers * (matrices + 2 * width) + width +
                           (t5 ? 1 : layers) * tables);
  // Residual stream and normed copy, and the larger of: q, k, v and their mix with bias and scores; the
  // feed-forward part's inside.
  const double attention = 4 * n * inner + 3 * heads * n * n;
  cost.activation_bytes = 4 * (2 * n * width + std::max(attention, dense * n * ff));
  return cost;
}

Load umt5_load(const T5Config& config, int64_t tokens, const Split& split, int64_t element) {
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  const double n = real(tokens), width = real(config.d_model), layers = real(config.num_layers);
  const double heads = real(even_size(config.num_heads, split.tp, 0)), inner = heads * real(config.d_kv);
  const double ff = real(even_size(config.d_ff, split.tp, 0)), dense = config.gated ? 3 : 2;
  const double matrices = 4 * width * inner + dense * width * ff;
  const double vocabulary = real(even_size(config.vocab_size, split.tp, 0));
  Load load;
  load.matmul_flops = layers * 2 * n * matrices;
  load.attention_flops = layers * 4 * n * n * inner;
  load.scores = layers * n * n * heads;
  // Two norms and two sums of the stream; bias and scores of every head in float32.
  load.moved_bytes = layers * n * (10 * width * real(element) + 4 * heads * n * kFloat32Bytes);
  load.calls = 14 * layers + 4;
  // After attention and the feed-forward part of each layer, and after the vocabulary's lookup.
  load.send(Group::tp, all_reduce_bytes(tokens * config.d_model, element, split.tp, 0), 2 * layers + 1);
  const double tables =
      real(config.relative_attention_num_buckets) * heads * (config.variant == T5Variant::t5 ? 1 : layers);
  load.weight_bytes = real(element) * (vocabulary * width + layers * (matrices + 2 * width) + width + tables);
  const double attention = 4 * n * inner * real(element) + 3 * heads * n * n * kFloat32Bytes;
  load.activation_bytes = 2 * n * width * real(element) + std::max(attention, dense * n * ff * real(element));
  return load;
}

}  // namespace rushes
