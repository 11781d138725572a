#pragma once
// A tokenizer put together from parts, as the tokenizers library runs it: added tokens are cut out, the rest
// is normalized, cut into words and given to the model; then truncation, the template, padding.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "models/interfaces.h"
#include "models/tokenizers/added_tokens.h"
#include "models/tokenizers/normalizers.h"
#include "models/tokenizers/pre_tokenizers.h"
#include "models/tokenizers/unigram.h"

namespace rushes {

enum class Side { left, right };

struct FastTokenizerParts {
  std::shared_ptr<const Unigram> model;
  std::shared_ptr<const AddedTokens> added;
  PreTokenizers pre_tokenizers;
  std::vector<int64_t> before, after;  // the template's special tokens around the text
  int64_t pad_id = 0;
  Side padding = Side::right;
  Side truncation = Side::right;
};

class FastTokenizer : public Tokenizer {
 public:
  explicit FastTokenizer(FastTokenizerParts parts) : parts_(std::move(parts)) {}
  /// Throws UserError for text that is not UTF-8, has a character that the model cannot take, or for a
  /// max_length below the number of special tokens.
  TokenIds encode(const std::string& text, int64_t max_length) const override;
  int64_t vocabulary() const override { return std::max(parts_.model->size(), parts_.added->end()); }

 private:
  FastTokenizerParts parts_;
};

}  // namespace rushes
