#pragma once
// Tokens that are found in the text before the model sees it ("added_tokens"). Behaviour: the tokenizers
// library 0.23 (AddedVocabulary) and transformers 5 (TokenizersBackend).

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizers/byte_trie.h"
#include "models/tokenizers/normalizers.h"
#include "models/tokenizers/unigram.h"

namespace rushes {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only between characters that belong to no word
  bool lstrip = false;       // swallows white space on its left
  bool rstrip = false;       // ... and on its right
  bool normalized = false;   // looked for in the normalized text, by its own normalized form
  bool special = true;

  bool operator==(const AddedToken&) const = default;
};

/// A special token as configs write it: plain text, or an object of AddedToken's fields.
AddedToken parse_added_token(const nlohmann::json& value, const std::string& where);

class AddedTokens {
 public:
  AddedTokens(const Unigram& model, std::vector<Normalizer> normalizers);

  /// Gives each token the id that the vocabulary has for its text, else the next free one; a known one takes
  /// the new flags.
  void add(const std::vector<AddedToken>& tokens);
  /// To be called once after the last add.
  void finish();
  /// Do not look for special tokens in the text (transformers' split_special_tokens).
  void ignore_special() { ignore_special_ = true; }

  /// The id of a token's text, in the added tokens or the model; -1: none.
  int64_t find(const std::string& content) const;
  /// Their ids are below it.
  int64_t end() const { return tokens_.empty() ? 0 : tokens_.rbegin()->first + 1; }
  bool contains(const std::string& content) const { return ids_.contains(content); }

  /// Cuts `prompt`, normalizes what is between the tokens, and tells in order either an id (>= 0) or, with id
  /// -1, a piece of normalized text. `tell(id, text)` returns false to stop.
  template <class Tell>
  bool split(std::string_view prompt, bool with_origin, Tell tell) const;

 private:
  struct Match {
    size_t begin = 0, end = 0;
    int64_t id = -1;
  };
  /// The stretches of `text` in order: tokens and what is between them.
  std::vector<Match> matches(std::string_view text, const ByteTrie& trie) const;

  const Unigram& model_;
  std::vector<Normalizer> normalizers_;
  std::map<std::string, int64_t> ids_;
  std::map<int64_t, AddedToken> tokens_;
  ByteTrie as_written_, normalized_;  // values: ids
  bool ignore_special_ = false;
};

template <class Tell>
bool AddedTokens::split(std::string_view prompt, bool with_origin, Tell tell) const {
  for (const Match& outer : matches(prompt, as_written_)) {
    NormalizedText text(prompt.substr(outer.begin, outer.end - outer.begin), outer.begin, with_origin);
    if (outer.id >= 0) {
      if (!tell(outer.id, std::move(text))) return false;
      continue;
    }
    for (const Normalizer& normalizer : normalizers_) {
      if (!text.text.empty()) normalizer(text);
    }
    for (const Match& inner : matches(text.text, normalized_)) {
      if (inner.begin == inner.end && inner.id < 0) continue;
      if (!tell(inner.id, text.slice(inner.begin, inner.end))) return false;
    }
  }
  return true;
}

}  // namespace rushes
