#pragma once
// WanTransformer3DModel of diffusers 0.42 (models/transformers/transformer_wan.py): Wan 2.1 and 2.2 (Wan
// Team, arXiv 2503.20314), text and image to video. A DiT whose blocks attend to themselves with three-axis
// rotary positions and queries and keys normed over all heads, then to the text (and image), then pass a
// feed-forward part; the timestep shifts, scales and gates them.
//
// Number formats as there: the time embedding, modulation tables and block norms in float32 whatever the
// model's dtype, the rest in it; each norm, modulation and gated residual is worked out in float32 and
// rounded once.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/dits/wan_config.h"
#include "models/dits/wan_rope.h"
#include "models/interfaces.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/parallel_linear.h"
#include "nn/patch.h"

namespace rushes {

/// What the timestep says to every token: one row of vectors a sample, or a token's own (Wan 2.2 TI2V), where
/// tokens of the same time share a row.
struct WanModulation {
  at::Tensor rows;   // [batch or distinct times, parts, dim] float32
  at::Tensor index;  // int64 [batch * tokens]: each token's row; or undefined

  /// Vector `i` for each token.
  RowVectors part(int64_t i) const { return {rows.select(1, i), index}; }
  /// The same with a table, [1, parts, dim], added.
  WanModulation plus(const at::Tensor& table) const { return {table + rows, index}; }
};

/// Keys and values of what cross-attention looks at: [batch, tokens, heads, head dim]. Those of images are
/// undefined where there are none of their own.
struct WanContextKeys {
  at::Tensor k, v, image_k, image_v;
};

/// diffusers' WanAttention. Self-attention is given rotary positions, cross-attention other tokens. Each rank
/// of loader.options().tp has some of the heads.
class WanAttention {
 public:
  enum class Kind { itself, text, text_and_images };
  WanAttention(const WanConfig& config, TensorLoader& loader, const std::string& name, Kind kind);

  /// x: [batch, own tokens, dim] of `tokens` in all -> the same. rope: of the own tokens.
  at::Tensor to_itself(const at::Tensor& x, const RopeTable& rope, int64_t tokens,
                       const StepContext& context) const;
  /// text: [batch, text tokens, dim]; image: the same of images, or undefined.
  WanContextKeys keys(const at::Tensor& text, const at::Tensor& image) const;
  at::Tensor to_context(const at::Tensor& x, const WanContextKeys& keys, const StepContext& context) const;

 private:
  at::Tensor heads(const at::Tensor& x) const { return x.unflatten(2, {heads_.count, head_dim_}); }

  Share heads_;  // this rank's
  int64_t head_dim_;
  ColumnLinear to_qkv_;  // of what attends to itself; of the others:
  ColumnLinear to_q_, to_kv_;
  ColumnLinear add_kv_;  // of images, where they have their own
  RowLinear to_out_;
  RmsNorm norm_q_, norm_k_;
  RmsNorm norm_added_k_;
};

/// Ranks can hold the model together (loader.options().tp: heads and feed-forward columns) and a sequence
/// (StepContext::sp: tokens, as even_sizes deals them out). Every rank calls forward with the same inputs and
/// gets the same output.
class WanTransformer : public Transformer {
 public:
  /// Takes the parameters under diffusers' names.
  WanTransformer(const WanConfig& config, TensorLoader& loader);

  /// hidden_states' frames, height and width must be multiples of the patch's. encoder_hidden_states_image:
  /// [batch, image tokens, image dim]; with pos_embed_seq_len [2 * batch, ...], each sample's first frame,
  /// then its last. Throws UserError that lists every input that does not fit the model.
  at::Tensor forward(const TransformerInputs& inputs, const StepContext& context) const override;
  int64_t in_channels() const override { return config_.in_channels; }
  int64_t out_channels() const override { return config_.out_channels; }
  int64_t text_dim() const override { return config_.text_dim; }
  std::vector<int64_t> patch_size() const override {
    return {config_.patch_size.begin(), config_.patch_size.end()};
  }
  int64_t max_positions() const override { return config_.rope_max_seq_len; }
  at::ScalarType dtype() const override { return dtype_; }
  const WanConfig& config() const { return config_; }

 private:
  struct Block {
    LayerNorm norm1, norm3;
    std::optional<LayerNorm> norm2;  // with cross_attn_norm
    WanAttention attn1, attn2;
    ColumnLinear ffn_in;
    RowLinear ffn_out;
    at::Tensor scale_shift_table;  // [1, 6, dim] float32
  };
  struct ImageEmbedder {
    LayerNorm norm1, norm2;
    Linear ff_in, ff_out;
    at::Tensor pos_embed;  // [1, positions, image dim], or undefined
  };
  /// What the blocks attend to beside themselves: the embedded text and images, [batch, tokens, dim] each (no
  /// images: undefined), or, where they are kept for the next step, the keys of each block instead.
  struct Condition {
    at::Tensor text, image;
    std::vector<WanContextKeys> keys;
  };

  void check(const TransformerInputs& inputs) const;
  void check_image(const TransformerInputs& inputs, Problems& problems) const;
  /// The six modulation vectors of the blocks, and the time embedding as one vector of the last norm.
  struct Time {
    WanModulation blocks, last;
  };
  /// timestep: [batch] or [batch, tokens]; the result is of the own tokens.
  Time embed_time(const at::Tensor& timestep, const StepContext& context) const;
  std::shared_ptr<const Condition> condition(const TransformerInputs& inputs, int64_t tokens,
                                             const StepContext& context) const;
  Condition embed_condition(const TransformerInputs& inputs, const StepContext& context) const;
  at::Tensor embed_image(const at::Tensor& image) const;
  /// What the blocks need of the sequence: this rank's positions, and how many tokens there are in all.
  struct Sequence {
    RopeTable rope;
    int64_t tokens = 0;
  };
  at::Tensor run_block(size_t number, at::Tensor x, const Condition& condition, const WanModulation& time,
                       const Sequence& sequence, const StepContext& context) const;

  WanConfig config_;
  at::ScalarType dtype_;
  at::Device device_;
  mutable WanRope rope_;
  PatchEmbed3d patch_embedding_;
  Linear time_in_, time_out_, time_proj_, text_in_, text_out_;
  std::optional<ImageEmbedder> image_embedder_;
  std::vector<Block> blocks_;
  LayerNorm norm_out_;
  Linear proj_out_;
  at::Tensor scale_shift_table_;  // [1, 2, dim] float32
};

std::unique_ptr<Transformer> make_wan_transformer(const nlohmann::json& config, TensorLoader& loader,
                                                  const std::string& where);

}  // namespace rushes
