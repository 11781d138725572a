#include "models/dits/wan.h"

#include <algorithm>

#include "attention/attention.h"
#include "attention/distributed.h"
#include "base/error.h"
#include "kernels/gated_add/gated_add.h"
#include "kernels/rotary/rotary.h"
#include "nn/embedding.h"

namespace rushes {
namespace {

// diffusers' cross-attention takes the last 512 of all context tokens for text and those before for images
// (WanAttnProcessor: "hardcoded for now").
constexpr int64_t kTextTokens = 512;
constexpr double kImageNormEps = 1e-5;  // WanImageEmbedding leaves FP32LayerNorm's default

std::string block_name(size_t number) {
  return rushes::str("blocks.", number);
}

}  // namespace

// ---- attention
// ---------------------------------------------------------------------------------------------------

WanAttention::WanAttention(const WanConfig& config, TensorLoader& loader, const std::string& name, Kind kind)
    : heads_(share_of(config.num_attention_heads, loader.options().tp)),
      head_dim_(config.attention_head_dim) {
  const int64_t dim = config.dim();
  const Share own = heads_ * head_dim_;
  const auto columns = [&](std::vector<std::string> parts, int64_t in) {
    for (std::string& part : parts)
      part = name + part;
    return ColumnLinear(loader, parts, in, dim, own);
  };
  const auto norm = [&](const char* part) {
    return RmsNorm(loader, name + part, dim, config.eps, RmsNormRounding::after_weight, own);
  };
  if (kind == Kind::itself) {
    to_qkv_ = columns({".to_q", ".to_k", ".to_v"}, dim);
  } else {
    to_q_ = columns({".to_q"}, dim);
    to_kv_ = columns({".to_k", ".to_v"}, dim);
  }
  to_out_ = RowLinear(loader, name + ".to_out.0", dim, dim, own);
  norm_q_ = norm(".norm_q");
  norm_k_ = norm(".norm_k");
  if (kind == Kind::text_and_images) {
    add_kv_ = columns({".add_k_proj", ".add_v_proj"}, *config.added_kv_proj_dim);
    norm_added_k_ = norm(".norm_added_k");
    loader.ignore(name + ".norm_added_q.weight");  // stored with some checkpoints, used by none
  }
}

at::Tensor WanAttention::to_itself(const at::Tensor& x, const RopeTable& rope, int64_t tokens,
                                   const StepContext& context) const {
  const std::vector<at::Tensor> qkv = to_qkv_.forward_all(x);
  RmsNorm::forward_all_({{&norm_q_, qkv[0]}, {&norm_k_, qkv[1]}});
  at::Tensor q = heads(qkv[0]), k = heads(qkv[1]);
  rotary_(q, rope.cos, rope.sin);
  rotary_(k, rope.cos, rope.sin);
  return to_out_.forward(attend_distributed({q, k, heads(qkv[2]), {}, {}}, tokens, context).flatten(2));
}

WanContextKeys WanAttention::keys(const at::Tensor& text, const at::Tensor& image) const {
  const std::vector<at::Tensor> kv = to_kv_.forward_all(text);
  norm_k_.forward_(kv[0]);
  WanContextKeys keys{heads(kv[0]), heads(kv[1]), {}, {}};
  if (image.defined()) {
    const std::vector<at::Tensor> image_kv = add_kv_.forward_all(image);
    norm_added_k_.forward_(image_kv[0]);
    keys.image_k = heads(image_kv[0]);
    keys.image_v = heads(image_kv[1]);
  }
  return keys;
}

at::Tensor WanAttention::to_context(const at::Tensor& x, const WanContextKeys& keys,
                                    const StepContext& context) const {
  const at::Tensor flat_q = to_q_.forward(x);
  norm_q_.forward_(flat_q);
  const at::Tensor q = heads(flat_q);
  at::Tensor out = attend({q, keys.k, keys.v, {}, {}}, context);
  if (keys.image_k.defined()) out = out + attend({q, keys.image_k, keys.image_v, {}, {}}, context);
  return to_out_.forward(out.flatten(2));
}

// ---- parameters
// --------------------------------------------------------------------------------------------------

WanTransformer::WanTransformer(const WanConfig& config, TensorLoader& loader)
    : config_(config),
      dtype_(loader.options().dtype),
      device_(loader.options().device),
      rope_(config.attention_head_dim) {
  const int64_t dim = config.dim();
  patch_embedding_ = PatchEmbed3d(loader, "patch_embedding", config.in_channels, dim, config.patch_size);

  const std::string embedder = "condition_embedder.";
  time_in_ =
      Linear(loader, embedder + "time_embedder.linear_1", config.freq_dim, dim, /*bias=*/true, at::kFloat);
  time_out_ = Linear(loader, embedder + "time_embedder.linear_2", dim, dim, /*bias=*/true, at::kFloat);
  time_proj_ = Linear(loader, embedder + "time_proj", dim, 6 * dim);
  text_in_ = Linear(loader, embedder + "text_embedder.linear_1", config.text_dim, dim);
  text_out_ = Linear(loader, embedder + "text_embedder.linear_2", dim, dim);
  if (config.image_dim) {
    const int64_t width = *config.image_dim;
    const std::string name = embedder + "image_embedder.";
    image_embedder_ = ImageEmbedder{
        .norm1 = LayerNorm(loader, name + "norm1", width, kImageNormEps, at::kFloat),
        .norm2 = LayerNorm(loader, name + "norm2", dim, kImageNormEps, at::kFloat),
        .ff_in = Linear(loader, name + "ff.net.0.proj", width, width),
        .ff_out = Linear(loader, name + "ff.net.2", width, dim),
        .pos_embed = config.pos_embed_seq_len
                         ? loader.take(name + "pos_embed", {1, *config.pos_embed_seq_len, width})
                         : at::Tensor(),
    };
  }

  const Share ffn = share_of(config.ffn_dim, loader.options().tp);
  const auto context =
      config.added_kv_proj_dim ? WanAttention::Kind::text_and_images : WanAttention::Kind::text;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string name = block_name(static_cast<size_t>(i));
    std::optional<LayerNorm> norm2;
    if (config.cross_attn_norm) norm2 = LayerNorm(loader, name + ".norm2", dim, config.eps, at::kFloat);
    blocks_.push_back(Block{
        .norm1 = LayerNorm(dim, config.eps),
        .norm3 = LayerNorm(dim, config.eps),
        .norm2 = norm2,
        .attn1 = WanAttention(config, loader, name + ".attn1", WanAttention::Kind::itself),
        .attn2 = WanAttention(config, loader, name + ".attn2", context),
        .ffn_in = ColumnLinear(loader, {name + ".ffn.net.0.proj"}, dim, config.ffn_dim, ffn),
        .ffn_out = RowLinear(loader, name + ".ffn.net.2", config.ffn_dim, dim, ffn),
        .scale_shift_table = loader.take(name + ".scale_shift_table", {1, 6, dim}, at::kFloat),
    });
  }

  norm_out_ = LayerNorm(dim, config.eps);
  proj_out_ = Linear(loader, "proj_out", dim, config.out_channels * config.patch_volume());
  scale_shift_table_ = loader.take("scale_shift_table", {1, 2, dim}, at::kFloat);
}

// ---- inputs
// ------------------------------------------------------------------------------------------------------

void WanTransformer::check(const TransformerInputs& inputs) const {
  Problems problems;
  const at::Tensor &x = inputs.hidden_states, &text = inputs.encoder_hidden_states, &time = inputs.timestep;
  if (x.dim() != 5 || x.size(1) != config_.in_channels) {
    problems.add("hidden_states ", x.sizes(), ": should be [batch, ", config_.in_channels,
                 " channels, frames, height, width]");
    problems.throw_if_any();
  }
  const char* axes[] = {"frames", "height", "width"};
  int64_t tokens = 1;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t side = x.size(static_cast<int64_t>(axis) + 2), patch = config_.patch_size[axis];
    tokens *= side / patch;
    if (side < patch || side % patch != 0) {
      problems.add("hidden_states: ", axes[axis], " (", side, " of the latents) must be a multiple of ",
                   patch, ", this model's patch");
    } else if (side / patch > config_.rope_max_seq_len) {
      problems.add("hidden_states: ", axes[axis], " (", side, " of the latents) makes ", side / patch,
                   " positions; this model knows ", config_.rope_max_seq_len, " (rope_max_seq_len)");
    }
  }
  if (text.dim() != 3 || text.size(0) != x.size(0) || text.size(2) != config_.text_dim) {
    problems.add("encoder_hidden_states ", text.sizes(), ": should be [", x.size(0), ", tokens, ",
                 config_.text_dim, "]");
  }
  const bool time_fits = (time.dim() == 1 && (time.size(0) == x.size(0) || time.size(0) == 1)) ||
                         (time.dim() == 2 && time.size(0) == x.size(0) && time.size(1) == tokens);
  if (!time_fits) {
    problems.add("timestep ", time.sizes(), ": should be [", x.size(0), "], or [", x.size(0), ", ", tokens,
                 "] for one a token");
  }
  check_image(inputs, problems);
  const std::pair<const char*, bool> unknown[] = {
      {"encoder_attention_mask", inputs.encoder_attention_mask.has_value()},
      {"pooled_projections", inputs.pooled_projections.has_value()},
      {"guidance", inputs.guidance.has_value()}};
  for (const auto& [name, given] : unknown) {
    if (given) problems.add(name, ": Wan's transformer takes none");
  }
  problems.throw_if_any();
}

void WanTransformer::check_image(const TransformerInputs& inputs, Problems& problems) const {
  if (!inputs.encoder_hidden_states_image) return;
  const at::Tensor& image = *inputs.encoder_hidden_states_image;
  if (!config_.image_dim) {
    problems.add("encoder_hidden_states_image: this model takes no image (its config has no image_dim)");
    return;
  }
  const int64_t batch = inputs.hidden_states.size(0);
  const int64_t images = config_.pos_embed_seq_len ? 2 : 1;  // a sample
  if (image.dim() != 3 || image.size(0) != images * batch || image.size(2) != *config_.image_dim) {
    problems.add("encoder_hidden_states_image ", image.sizes(), ": should be [", images * batch,
                 images == 2 ? " (first and last frame of each sample)" : "", ", tokens, ",
                 *config_.image_dim, "]");
  } else if (images == 2 && 2 * image.size(1) != *config_.pos_embed_seq_len) {
    problems.add("encoder_hidden_states_image ", image.sizes(), ": two images must have ",
                 *config_.pos_embed_seq_len, " tokens together (pos_embed_seq_len)");
  }
}

// ---- conditions
// --------------------------------------------------------------------------------------------------

WanTransformer::Time WanTransformer::embed_time(const at::Tensor& timestep,
                                                const StepContext& context) const {
  at::Tensor times = timestep.to(device_);
  at::Tensor index;
  if (times.dim() == 2) {
    times = own_tokens(times, 1, context);
    // Tokens have few distinct times (given frames and the others), so embed those.
    std::tie(times, index, std::ignore) =
        at::_unique2(times.flatten(), /*sorted=*/true, /*return_inverse=*/true);
  }
  const at::Tensor waves = timestep_embedding(times, config_.freq_dim);
  const at::Tensor embedded =
      time_out_.forward(at::silu(time_in_.forward(waves))).to(dtype_);  // [times, dim]
  const at::Tensor projected = time_proj_.forward(at::silu(embedded));  // [times, 6 dim]
  context.note("condition_embedder.time_embedder", embedded);
  context.note("condition_embedder.time_proj", projected);
  return {{projected.to(at::kFloat).unflatten(1, {6, -1}), index},
          {embedded.to(at::kFloat).unsqueeze(1), index}};
}

at::Tensor WanTransformer::embed_image(const at::Tensor& given) const {
  const ImageEmbedder& e = *image_embedder_;
  at::Tensor image = given.to(device_, dtype_);
  if (e.pos_embed.defined()) image = image.reshape({-1, 2 * image.size(1), image.size(2)}) + e.pos_embed;
  at::Tensor inner = e.ff_in.forward(e.norm1.forward(image));
  return e.norm2.forward(e.ff_out.forward(at::gelu_(inner)));
}

WanTransformer::Condition WanTransformer::embed_condition(const TransformerInputs& inputs,
                                                          const StepContext& context) const {
  at::Tensor all = text_out_.forward(
      text_in_.forward(inputs.encoder_hidden_states.to(device_, dtype_), Epilogue::gelu_tanh));
  context.note("condition_embedder.text_embedder", all);
  if (inputs.encoder_hidden_states_image) {
    const at::Tensor image = embed_image(*inputs.encoder_hidden_states_image);
    context.note("condition_embedder.image_embedder", image);
    all = at::cat({image, all}, 1);
  }
  if (!config_.added_kv_proj_dim) return {all, {}, {}};
  // As the reference cuts: text[total - 512:], where a negative start counts from the end as Python's slices
  // do.
  const int64_t total = all.size(1);
  int64_t images = total - kTextTokens;
  if (images < 0) images = std::max<int64_t>(0, images + total);
  const at::Tensor image = images > 0 ? all.narrow(1, 0, images) : at::Tensor();
  return {all.narrow(1, images, total - images), image, {}};
}

std::shared_ptr<const WanTransformer::Condition> WanTransformer::condition(const TransformerInputs& inputs,
                                                                           int64_t tokens,
                                                                           const StepContext& context) const {
  // A trace is to show every layer.
  const bool keep = context.memo != nullptr && context.trace == nullptr &&
                    WanConfig::keeps_text_keys(inputs.encoder_hidden_states.size(1), tokens);
  if (!keep) return std::make_shared<Condition>(embed_condition(inputs, context));
  std::vector<at::Tensor> of{inputs.encoder_hidden_states};
  if (inputs.encoder_hidden_states_image) of.push_back(*inputs.encoder_hidden_states_image);
  return context.memo->get<Condition>(this, of, [&] {
    const Condition embedded = embed_condition(inputs, context);
    Condition kept;
    for (const Block& block : blocks_) {
      kept.keys.push_back(block.attn2.keys(embedded.text, embedded.image));
    }
    return kept;
  });
}

// ---- forward
// -----------------------------------------------------------------------------------------------------

at::Tensor WanTransformer::run_block(size_t number, at::Tensor x, const Condition& condition,
                                     const WanModulation& time, const Sequence& sequence,
                                     const StepContext& context) const {
  const Block& block = blocks_[number];
  const WanModulation m = time.plus(block.scale_shift_table);
  enum { shift, scale, gate, ffn_shift, ffn_scale, ffn_gate };

  at::Tensor normed = block.norm1.modulated(x, m.part(scale), m.part(shift));
  const at::Tensor itself = block.attn1.to_itself(normed, sequence.rope, sequence.tokens, context);
  gated_add_(x, itself, m.part(gate));

  normed = block.norm2 ? block.norm2->forward(x) : x;
  const at::Tensor text = block.attn2.to_context(
      normed,
      condition.keys.empty() ? block.attn2.keys(condition.text, condition.image) : condition.keys[number],
      context);
  x.add_(text);

  normed = block.norm3.modulated(x, m.part(ffn_scale), m.part(ffn_shift));
  const at::Tensor fed = block.ffn_out.forward(block.ffn_in.forward(normed, Epilogue::gelu_tanh));
  gated_add_(x, fed, m.part(ffn_gate));

  if (context.trace != nullptr) {
    const std::string name = block_name(number);
    context.note(name + ".attn1", itself);
    context.note(name + ".attn2", text);
    context.note(name + ".ffn", fed);
    context.note(name, x);
  }
  return x;
}

at::Tensor WanTransformer::forward(const TransformerInputs& inputs, const StepContext& context) const {
  check(inputs);
  const at::Tensor& given = inputs.hidden_states;
  std::array<int64_t, 3> grid;
  for (size_t axis = 0; axis < 3; ++axis) {
    grid[axis] = given.size(static_cast<int64_t>(axis) + 2) / config_.patch_size[axis];
  }
  const RopeTable rope = rope_.table(grid, device_);
  const Sequence sequence{{own_tokens(rope.cos, 0, context), own_tokens(rope.sin, 0, context)},
                          grid[0] * grid[1] * grid[2]};

  // [batch, own tokens, dim]
  at::Tensor x =
      patch_embedding_.embed(own_tokens(patch_embedding_.cut(given.to(device_, dtype_)), 1, context));
  context.note("patch_embedding", x);
  const Time time = embed_time(inputs.timestep, context);
  const auto conditions = condition(inputs, x.size(1), context);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    x = run_block(i, x, *conditions, time.blocks, sequence, context);
  }

  const WanModulation last = time.last.plus(scale_shift_table_);
  x = norm_out_.modulated(x, last.part(1), last.part(0));
  context.note("norm_out", x);
  x = proj_out_.forward(x);
  context.note("proj_out", x);
  x = all_tokens(x, 1, sequence.tokens, context);
  return unpatchify(x, grid, config_.patch_size);
}

std::unique_ptr<Transformer> make_wan_transformer(const nlohmann::json& config, TensorLoader& loader,
                                                  const std::string& where) {
  const WanConfig read = read_wan_config(config, where);
  loader.explain(read.defaults_taken);
  auto model = std::make_unique<WanTransformer>(read, loader);
  loader.finish();
  return model;
}

}  // namespace rushes
