#pragma once
// Prompt -> cleaned text -> tokens -> embeddings; once for each distinct text where an EmbeddingStore is
// given. Of a replica the first rank has the store; those of `tp` encode; all get the first one's rows.
// Follows _get_t5_prompt_embeds of diffusers' pipeline_wan.py: rows past the prompt's tokens are zero.

#include <memory>

#include "models/tokenizers/prompt_clean.h"
#include "pipelines/component.h"
#include "pipelines/stage.h"

namespace rushes {

class TextEncodingStage : public Stage {
 public:
  struct Parts {
    std::shared_ptr<const Tokenizer> tokenizer;
    /// Loaded at the first text that no store has: its weights stay on disk while every text is known.
    Reloadable<TextEncoder> encoder;
    NormalizeNfc normalize_nfc;
    at::Device device = at::kCPU;
    bool takes_part = true;  // of a replica's ranks, those that encode; the others are given the result
    std::string cache_key;   // of all that can change an embedding's bits beside text and length
  };
  explicit TextEncodingStage(Parts parts) : parts_(std::move(parts)) {}

  std::string name() const override { return "text encoding"; }
  void verify_input(const ForwardBatch& batch) const override;
  void forward(ForwardBatch& batch, const RunContext& context) override;
  void verify_output(const ForwardBatch& batch) const override;
  void release_weights() override { parts_.encoder.release(); }

 private:
  struct Embedded {
    at::Tensor rows;  // [1, max_sequence_length, text dim]
    int64_t tokens = 0;
  };
  Embedded embed(const std::string& text, const char* what, ForwardBatch& batch, const RunContext& context);
  at::Tensor rows_of(const TokenIds& tokens, const std::string& key, const RunContext& context);
  at::Tensor encode(const TokenIds& tokens);

  Parts parts_;
};

}  // namespace rushes
