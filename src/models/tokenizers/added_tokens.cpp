#include "models/tokenizers/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "models/tokenizers/json_checks.h"
#include "models/tokenizers/unicode.h"
#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

bool word_before(std::string_view text, size_t position) {
  return position > 0 && is_word_character(code_point_at(text, previous_character(text, position)));
}

bool word_after(std::string_view text, size_t position) {
  return position < text.size() && is_word_character(code_point_at(text, position));
}

}  // namespace

AddedToken parse_added_token(const nlohmann::json& value, const std::string& where) {
  AddedToken token;
  if (value.is_string()) {
    token.content = value.get<std::string>();
    return token;
  }
  only_keys(value, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type"},
            where);
  token.content = text_member(value, "content", where);
  token.single_word = flag_member(value, "single_word", false, where);
  token.lstrip = flag_member(value, "lstrip", false, where);
  token.rstrip = flag_member(value, "rstrip", false, where);
  token.special = flag_member(value, "special", false, where);
  token.normalized = flag_member(value, "normalized", !token.special, where);
  return token;
}

AddedTokens::AddedTokens(const Unigram& model, std::vector<Normalizer> normalizers)
    : model_(model), normalizers_(std::move(normalizers)) {}

void AddedTokens::add(const std::vector<AddedToken>& tokens) {
  int64_t next_id = tokens_.empty() ? model_.size() : std::max(model_.size(), tokens_.rbegin()->first + 1);
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    int64_t id = find(token.content);
    if (id < 0) id = next_id++;
    ids_[token.content] = id;
    tokens_[id] = token;
  }
}

int64_t AddedTokens::find(const std::string& content) const {
  const auto found = ids_.find(content);
  return found != ids_.end() ? found->second : model_.find(content);
}

void AddedTokens::finish() {
  std::vector<std::string> texts;
  texts.reserve(tokens_.size());  // the entries below point into it
  std::vector<std::pair<std::string_view, int32_t>> as_written, normalized;
  for (const auto& [id, token] : tokens_) {
    NormalizedText text(token.content, 0, /*with_origin=*/false);
    for (const Normalizer& normalizer : normalizers_) {
      if (token.normalized && !text.text.empty()) normalizer(text);
    }
    texts.push_back(std::move(text.text));
    (token.normalized ? normalized : as_written).emplace_back(texts.back(), static_cast<int32_t>(id));
  }
  as_written_ = ByteTrie(std::move(as_written));
  normalized_ = ByteTrie(std::move(normalized));
}

std::vector<AddedTokens::Match> AddedTokens::matches(std::string_view text, const ByteTrie& trie) const {
  std::vector<Match> result;
  size_t settled = 0;  // all before is told
  for (size_t at = 0; at < text.size();) {
    // The longest token that starts here.
    size_t end = at;
    int64_t id = -1;
    ByteTrie::Node node = ByteTrie::kRoot;
    for (size_t i = at; i < text.size(); ++i) {
      node = trie.step(node, text[i]);
      if (node == ByteTrie::kNone) break;
      if (trie.value(node) >= 0) {
        id = trie.value(node);
        end = i + 1;
      }
    }
    if (id < 0) {
      ++at;
      continue;
    }
    size_t begin = at;
    at = end;
    const AddedToken& token = tokens_.at(id);
    if (ignore_special_ && token.special) continue;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token.lstrip) {
      while (begin > settled && is_white_space(code_point_at(text, previous_character(text, begin)))) {
        begin = previous_character(text, begin);
      }
      begin = std::max(begin, settled);
    }
    if (token.rstrip) {
      while (end < text.size() && is_white_space(code_point_at(text, end))) {
        end += utf8_length(text[end]);
      }
    }
    if (settled < begin) result.push_back({settled, begin, -1});
    result.push_back({begin, end, id});
    settled = end;
  }
  if (settled < text.size()) result.push_back({settled, text.size(), -1});
  return result;
}

}  // namespace rushes
