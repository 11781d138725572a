#pragma once
// The "pre_tokenizer" of tokenizer.json: cuts a normalized text into words. Behaviour: the tokenizers library
// 0.23.

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/tokenizers/normalizers.h"

namespace rushes {

/// Is given each word in order; false: no more are wanted.
using TakeWord = std::function<bool(NormalizedText&&)>;
/// Cuts one piece into smaller ones. Returns false as soon as `take` did.
using PreTokenizer = std::function<bool(NormalizedText&&, const TakeWord& take)>;

struct PreTokenizers {
  std::vector<PreTokenizer> steps;
  bool needs_origin = false;  // Metaspace with prepend_scheme "first"
};

/// `description`: the value of "pre_tokenizer" (null: none). Throws UserError naming whatever is not
/// supported: there are Sequence, WhitespaceSplit, Whitespace and Metaspace.
PreTokenizers parse_pre_tokenizers(const nlohmann::json& description, const std::string& where);
/// What transformers 5 gives every T5 tokenizer: WhitespaceSplit, then Metaspace with U+2581 before each
/// word.
PreTokenizers t5_pre_tokenizers();
/// All steps on one piece, lazily.
bool pre_tokenize(const PreTokenizers& steps, NormalizedText&& text, const TakeWord& take);

}  // namespace rushes
