#include "models/tokenizers/charsmap.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace rushes {
namespace {

// Fields of a unit of the double array (darts-clone).
bool has_leaf(uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
uint32_t value(uint32_t unit) {
  return unit & 0x7FFFFFFF;
}
uint32_t label(uint32_t unit) {
  return unit & 0x800000FF;
}
uint32_t offset(uint32_t unit) {
  return unit >> 10 << ((unit & 1u << 9) >> 6);
}

uint32_t little_endian(std::string_view bytes, size_t at) {
  uint32_t result = 0;
  for (size_t i = 0; i < 4; ++i) {
    result |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return result;
}

}  // namespace

Charsmap::Charsmap(std::string_view bytes, const std::string& where) {
  const size_t trie_bytes = bytes.size() < 4 ? 0 : little_endian(bytes, 0);
  if (trie_bytes < 4 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4) {
    fail(where, ": the precompiled character map of ", bytes.size(), " bytes is damaged (its trie says ",
         trie_bytes, " bytes)");
  }
  units_.reserve(trie_bytes / 4);
  for (size_t at = 4; at < 4 + trie_bytes; at += 4) {
    units_.push_back(little_endian(bytes, at));
  }
  texts_ = bytes.substr(4 + trie_bytes);
  std::string text = texts_;
  std::replace(text.begin(), text.end(), '\0', ' ');
  if (!is_utf8(text)) fail(where, ": the replacements of the precompiled character map are not UTF-8");
}

std::optional<std::string_view> Charsmap::replacement(std::string_view chunk) const {
  size_t node = offset(units_[0]);
  for (const char byte : chunk) {
    const auto wanted = static_cast<unsigned char>(byte);
    if (wanted == 0) break;
    node ^= wanted;
    if (node >= units_.size() || label(units_[node]) != wanted) return std::nullopt;
    const uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    const size_t start = node < units_.size() ? value(units_[node]) : texts_.size();
    if (start >= texts_.size()) return std::string_view();
    // A start inside a character can only come from a damaged map.
    if ((static_cast<unsigned char>(texts_[start]) & 0xC0) == 0x80) return std::string_view();
    return std::string_view(texts_).substr(start, std::min(texts_.find('\0', start), texts_.size()) - start);
  }
  return std::nullopt;
}

}  // namespace rushes
