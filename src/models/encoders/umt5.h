#pragma once
// UMT5EncoderModel and T5EncoderModel of transformers 5 (models/umt5/modeling_umt5.py,
// models/t5/modeling_t5.py): RMS-normed pre-norm blocks of self-attention without 1/sqrt(d), with a learned
// bias for each relative position (Raffel et al., arXiv 1910.10683), and a feed-forward part, gated in the
// newer ones.
//
// Number formats as there: norms in float32; under float16 the last matrix of each feed-forward part (`wo`)
// stays in float32, and with it the residual stream behind it; under bfloat16 all is bfloat16.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/encoders/t5_config.h"
#include "models/interfaces.h"
#include "models/load.h"
#include "nn/norm.h"
#include "nn/parallel_linear.h"

namespace rushes {

/// Tensor parallel over loader.options().tp: heads, feed-forward columns and rows of the table are dealt out;
/// every rank calls forward with the same input and gets the same output.
class T5Encoder : public TextEncoder {
 public:
  /// Takes the parameters under transformers' names; of `shared.weight` and `encoder.embed_tokens.weight` the
  /// latter counts where both are stored. A decoder's tensors are left alone.
  T5Encoder(const T5Config& config, TensorLoader& loader);

  /// input_ids: [batch, tokens]; attention_mask: [batch, tokens], 0 = padding, which no token attends to (a
  /// row of padding alone attends evenly). Throws UserError for ids outside the vocabulary.
  TextEncoderOutput forward(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                            bool all_hidden_states, const StepContext& context) const override;
  int64_t dim() const override { return config_.d_model; }
  int64_t vocabulary() const override { return config_.vocab_size; }

 private:
  struct Block {
    RmsNorm attention_norm;
    ColumnLinear qkv;
    RowLinear o;
    at::Tensor bias;  // [buckets, own heads], or undefined
    RmsNorm feed_forward_norm;
    ColumnLinear wi;  // wi_0 and wi_1, or without gate one
    RowLinear wo;
  };

  at::Tensor attention(const Block& block, const at::Tensor& x, const at::Tensor& bias,
                       const StepContext& context) const;
  at::Tensor feed_forward(const Block& block, const at::Tensor& x) const;

  T5Config config_;
  Share heads_;  // this rank's
  VocabEmbedding embedding_;
  std::vector<Block> blocks_;
  RmsNorm final_norm_;
};

/// The bucket of each relative position key - query: int64 [tokens, tokens] on the CPU, each below `buckets`.
/// Half of them are for keys after the query; of each half the first half are exact, the rest grow as the
/// logarithm up to `max_distance`.
at::Tensor relative_position_buckets(int64_t tokens, int64_t buckets, int64_t max_distance);

std::unique_ptr<TextEncoder> make_umt5_encoder(const nlohmann::json& config, TensorLoader& loader,
                                               const std::string& where);
std::unique_ptr<TextEncoder> make_t5_encoder(const nlohmann::json& config, TensorLoader& loader,
                                             const std::string& where);

/// One forward pass over one text of `tokens` on the first of `split.tp` ranks: heads, the feed-forward
/// part's inside and the vocabulary are split. element: bytes of one number of the model.
Load umt5_load(const T5Config& config, int64_t tokens, const Split& split, int64_t element);

/// One forward pass over one text of `tokens`, from config.json ("model_type": "t5" is T5, all else UMT5).
/// Bytes are of float32.
Cost umt5_cost(const nlohmann::json& config, int64_t tokens);

}  // namespace rushes
