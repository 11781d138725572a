#pragma once
// What tokenizer_config.json and special_tokens_map.json say of a tokenizer, read as transformers 5 reads
// them (PreTrainedTokenizerBase._from_pretrained and TokenizersBackend.__init__).

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/registry.h"
#include "models/tokenizers/added_tokens.h"
#include "models/tokenizers/fast_tokenizer.h"

namespace rushes {

struct TokenizerSettings {
  /// eos_token, pad_token, ...: those that are given; a null is kept as an empty one.
  std::map<std::string, std::optional<AddedToken>> named;
  std::optional<std::vector<AddedToken>> extra;       // extra_special_tokens
  std::optional<std::vector<AddedToken>> additional;  // additional_special_tokens, where both may count
  std::map<int64_t, AddedToken> added;                // added_tokens_decoder
  int64_t extra_ids = 100;
  std::optional<Side> padding_side, truncation_side;
  bool split_special_tokens = false;

  /// The token's text; throws UserError where it is not given.
  std::string require(const std::string& name, const std::string& where) const;
};

/// `tokenizer_json`: the parsed tokenizer.json, or null. Throws UserError naming file and field for what is
/// wrong or not supported.
TokenizerSettings parse_tokenizer_settings(const TokenizerFiles& files, const nlohmann::json& tokenizer_json,
                                           const std::string& where);

/// Adds to `tokens` what the settings name: the added tokens in the order of their ids, then those of the
/// named and of the extra tokens that are not known yet.
void add_special_tokens(const TokenizerSettings& settings, const std::vector<AddedToken>& extra,
                        AddedTokens& tokens);

}  // namespace rushes
