#include "pipelines/stages/text_encoding.h"

#include <algorithm>

#include "base/file.h"

namespace rushes {

void TextEncodingStage::verify_input(const ForwardBatch& batch) const {
  if (!is_utf8(batch.request.prompt)) fail("the prompt is not UTF-8");
  if (!is_utf8(batch.request.sampling.negative_prompt)) fail("the negative prompt is not UTF-8");
}

void TextEncodingStage::forward(ForwardBatch& batch, const RunContext& context) {
  Embedded prompt = embed(batch.request.prompt, "prompt", batch, context);
  batch.prompt_embeds = std::move(prompt.rows);
  batch.prompt_tokens = prompt.tokens;
  if (batch.guided()) {
    batch.negative_prompt_embeds =
        embed(batch.request.sampling.negative_prompt, "negative prompt", batch, context).rows;
  }
}

TextEncodingStage::Embedded TextEncodingStage::embed(const std::string& text, const char* what,
                                                     ForwardBatch& batch, const RunContext& context) {
  const int64_t length = batch.request.sampling.max_sequence_length;
  const TokenIds tokens = parts_.tokenizer->encode(clean_prompt(text, parts_.normalize_nfc), length);
  if (tokens.cut)
    batch.warnings.push_back(str("the ", what, " was cut to ", length, " tokens (max_sequence_length)"));

  // Stored without the zero rows: the key needs only what the encoder saw.
  const auto real = std::count(tokens.attention_mask.begin(), tokens.attention_mask.end(), 1);
  const std::string key = hash_bytes(str(parts_.cache_key, "|", join(tokens.input_ids, ","), "|", real));
  const at::Tensor rows = rows_of(tokens, key, context);
  at::Tensor embeds = at::zeros({1, length, rows.size(1)}, rows.options());
  embeds.select(0, 0).narrow(0, 0, rows.size(0)).copy_(rows);
  return {embeds, rows.size(0)};
}

/// -> [real tokens, text dim], on every rank of the replica.
at::Tensor TextEncodingStage::rows_of(const TokenIds& tokens, const std::string& key,
                                      const RunContext& context) {
  const bool store = context.embeddings != nullptr && context.leads(), many = context.replica != nullptr;
  at::Tensor rows;
  if (store) {
    if (const auto stored = context.embeddings->get(key)) rows = *stored;
  }
  const bool known = many ? context.replica->all_gather(rows.defined() ? 1 : 0)[0] == 1 : rows.defined();
  if (!known && parts_.takes_part) {
    const at::Tensor encoded = encode(tokens);
    if (context.leads()) rows = encoded;
    if (store) context.embeddings->put(key, rows.to(at::kCPU));
  }
  if (!many || context.replica->alone()) return rows.to(parts_.device);
  // Over host memory, as the store's are; the header tells the others what comes.
  at::Tensor header = at::zeros({3}, at::kLong);
  if (context.leads()) {
    rows = rows.to(at::kCPU).contiguous();
    header = at::tensor({rows.size(0), rows.size(1), static_cast<int64_t>(rows.scalar_type())}, at::kLong);
  }
  context.replica->broadcast_(header, 0);
  const int64_t* facts = header.const_data_ptr<int64_t>();
  if (!context.leads()) rows = at::empty({facts[0], facts[1]}, static_cast<at::ScalarType>(facts[2]));
  context.replica->broadcast_(rows, 0);
  return rows.to(parts_.device);
}

/// -> [real tokens, text dim]. Padding is masked out of every softmax, so the encoder runs on the real tokens
/// alone.
at::Tensor TextEncodingStage::encode(const TokenIds& tokens) {
  std::vector<int64_t> ids;
  for (size_t i = 0; i < tokens.input_ids.size(); ++i) {
    if (tokens.attention_mask[i] != 0) ids.push_back(tokens.input_ids[i]);
  }
  const auto count = static_cast<int64_t>(ids.size());
  const at::Tensor input_ids = at::tensor(ids, at::kLong).view({1, count}).to(parts_.device);
  const StepContext context;
  return parts_.encoder.get()
      .forward(input_ids, at::ones_like(input_ids), /*all_hidden_states=*/false, context)
      .last_hidden_state.select(0, 0);
}

void TextEncodingStage::verify_output(const ForwardBatch& batch) const {
  require_finite(batch.prompt_embeds, "the prompt's embedding");
  if (batch.negative_prompt_embeds.defined()) {
    require_finite(batch.negative_prompt_embeds, "the negative prompt's embedding");
  }
}

}  // namespace rushes
