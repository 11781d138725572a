#pragma once
// The tokenizers of the T5 family, as transformers 5 makes them from a model's files.

#include <memory>
#include <string>

#include "models/registry.h"

namespace rushes {

/// Classes T5Tokenizer and T5TokenizerFast. transformers 5 takes from tokenizer.json only the vocabulary, the
/// precompiled character map and the added tokens, and sets the rest itself: WhitespaceSplit and Metaspace,
/// id 2 for unknown text, no byte fallback, </s> at the end. Where there is no tokenizer.json, spiece.model
/// gives vocabulary, map and control tokens, and the sentinels <extra_id_N> follow. What a file asks for
/// besides is named in the log. Throws UserError for files that are damaged, missing or not supported.
std::unique_ptr<Tokenizer> make_t5_tokenizer(const TokenizerFiles& files, const std::string& where);

/// Classes PreTrainedTokenizerFast and TokenizersBackend: everything as tokenizer.json says. Throws UserError
/// naming whatever in it is not supported.
std::unique_ptr<Tokenizer> make_fast_tokenizer(const TokenizerFiles& files, const std::string& where);

}  // namespace rushes
