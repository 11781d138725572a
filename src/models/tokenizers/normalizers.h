#pragma once
// The "normalizer" of tokenizer.json: rewrites a text before it is split. Behaviour: the tokenizers library
// 0.23.

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rushes {

/// A text on its way to the model.
struct NormalizedText {
  std::string text;
  /// For each byte of `text` where in the whole prompt its character came from; empty where nobody asks (only
  /// Metaspace's "first" does).
  std::vector<uint32_t> origin;
  /// Where in the whole prompt this piece began when it was last cut out.
  uint32_t begin = 0;
  /// What normalizers may make of it at the most; more is a UserError.
  size_t most_bytes = size_t{64} << 20;

  NormalizedText() = default;
  /// A piece of the prompt that begins at `start`.
  NormalizedText(std::string_view piece, size_t start, bool with_origin);
  /// The bytes [from, to) as a piece of their own.
  NormalizedText slice(size_t from, size_t to) const;
  bool has_origin() const { return !origin.empty(); }
};

/// A character of a rewritten text, and how it came about: 0 takes the place of the next old character, n > 0
/// is new (it shares the origin of what is before it), -n takes the place of one and swallows the n after it.
using Change = std::pair<char32_t, int>;
/// Puts `changes` in the place of the whole text, whose first `skipped` characters are dropped.
void rewrite(NormalizedText& text, const std::vector<Change>& changes, size_t skipped);

using Normalizer = std::function<void(NormalizedText&)>;

/// The normalizers in order. `description`: the value of "normalizer" (null: none). Throws UserError naming
/// whatever is not supported: of the library's types there are Sequence, Precompiled, Replace (a fixed text,
/// or a regex of one character or \s with a quantifier), Strip, Lowercase and Prepend.
std::vector<Normalizer> parse_normalizers(const nlohmann::json& description, const std::string& where);
/// The normalizer "Precompiled" by the bytes of its map.
Normalizer precompiled_normalizer(std::string_view charsmap, const std::string& where);
/// Bytes out of base64 with padding; UserError with `where`.
std::string from_base64(std::string_view text, const std::string& where);

}  // namespace rushes
