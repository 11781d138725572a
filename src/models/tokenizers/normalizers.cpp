#include "models/tokenizers/normalizers.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>

#include "base/error.h"
#include "base/quote.h"
#include "models/tokenizers/charsmap.h"
#include "models/tokenizers/json_checks.h"
#include "models/tokenizers/unicode.h"
#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

using nlohmann::json;

std::vector<char32_t> characters(std::string_view text) {
  std::vector<char32_t> result;
  for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    result.push_back(code_point_at(text, at));
  }
  return result;
}

// Replacements of replacements could fill any memory. No real tokenizer makes a text many times as long.
constexpr size_t kMostGrowth = 32;
constexpr size_t kAlwaysAllowed = size_t{1} << 20;  // bytes

void check_growth(size_t bytes, const NormalizedText& text) {
  if (bytes <= text.most_bytes) return;
  fail("the tokenizer's normalizers make more than ", text.most_bytes, " bytes of a text");
}

// ---- Precompiled
// ----------------------------------------------------------------------------------------------

/// Notes that `from` becomes `to`, as the reference counts it.
void note_replacement(std::vector<Change>& changes, std::string_view from, std::string_view to) {
  const auto old_count = static_cast<int>(characters(from).size());
  const std::vector<char32_t> fresh = characters(to);
  const auto new_count = static_cast<int>(fresh.size());
  for (int i = 0; i < new_count; ++i) {
    changes.emplace_back(fresh[i], i >= old_count ? 1 : 0);
  }
  if (new_count < old_count && !changes.empty()) changes.back().second += new_count - old_count;
}

/// Tells `replaced(from, to)` and `kept(character)` in the order of the text. A grapheme of less than six
/// bytes is looked up whole first, then each of its characters: the reference's rule.
template <class Replaced, class Kept>
void walk_charsmap(const Charsmap& map, const NormalizedText& whole_text, Replaced replaced, Kept kept) {
  const std::string_view text = whole_text.text;
  size_t grown = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = grapheme_end(text, at);
    if (end - at < 6) {
      if (const auto whole = map.replacement(text.substr(at, end - at))) {
        check_growth(grown += whole->size(), whole_text);
        replaced(text.substr(at, end - at), *whole);
        at = end;
        continue;
      }
    }
    while (at < end) {
      const std::string_view part = text.substr(at, utf8_length(text[at]));
      if (const auto one = map.replacement(part)) {
        check_growth(grown += one->size(), whole_text);
        replaced(part, *one);
      } else {
        kept(part);
      }
      at += part.size();
    }
  }
}

void apply_charsmap(const Charsmap& map, NormalizedText& text) {
  if (!text.has_origin()) {
    std::string out;
    out.reserve(text.text.size());
    walk_charsmap(
        map, text, [&](std::string_view, std::string_view to) { out += to; },
        [&](std::string_view part) { out += part; });
    text.text = std::move(out);
    return;
  }
  std::vector<Change> changes;
  bool changed = false;
  walk_charsmap(
      map, text,
      [&](std::string_view from, std::string_view to) {
        note_replacement(changes, from, to);
        changed = true;
      },
      [&](std::string_view part) { changes.emplace_back(code_point_at(part, 0), 0); });
  if (changed) rewrite(text, changes, 0);
}

// ---- Replace
// --------------------------------------------------------------------------------------------------

/// What Replace looks for: a fixed text, or a run of one kind of character.
struct Pattern {
  std::string fixed;
  bool run = false;
  bool space_class = false;  // \s
  char32_t character = 0;
  size_t least = 1, most = std::numeric_limits<size_t>::max();

  /// Bytes of the match at `at`; 0: none.
  size_t match(std::string_view text, size_t at) const {
    if (!run) return text.compare(at, fixed.size(), fixed) == 0 ? fixed.size() : 0;
    size_t end = at, count = 0;
    while (end < text.size() && count < most) {
      const char32_t c = code_point_at(text, end);
      if (space_class ? !is_white_space(c) : c != character) break;
      end += utf8_length(text[end]);
      ++count;
    }
    return count >= least ? end - at : 0;
  }
};

/// "{2,}", "{2,5}", "{3}", "+" or nothing at the end of a regex; false where it is something else.
bool read_quantifier(std::string_view text, Pattern& pattern) {
  if (text.empty()) {
    pattern.most = 1;
    return true;
  }
  if (text == "+") return true;
  if (text.size() < 3 || text.front() != '{' || text.back() != '}') return false;
  text = text.substr(1, text.size() - 2);
  const auto read = [](std::string_view digits, size_t& into) {
    if (digits.empty() || digits.size() > 6) return false;
    into = 0;
    for (const char digit : digits) {
      if (digit < '0' || digit > '9') return false;
      into = into * 10 + static_cast<size_t>(digit - '0');
    }
    return true;
  };
  const size_t comma = text.find(',');
  if (!read(text.substr(0, comma), pattern.least)) return false;
  if (comma == std::string_view::npos) {
    pattern.most = pattern.least;
  } else if (comma + 1 < text.size() && !read(text.substr(comma + 1), pattern.most)) {
    return false;
  }
  return pattern.least >= 1 && pattern.most >= pattern.least;
}

Pattern parse_regex(const std::string& regex, const std::string& where) {
  Pattern pattern;
  pattern.run = true;
  size_t atom = 0;
  if (regex.size() >= 2 && regex[0] == '\\') {
    constexpr std::string_view kEscapes = "tnrfv", kMeant = "\t\n\r\f\v", kLiteral = ".^$*+?()[]{}|\\/-";
    const size_t escape = kEscapes.find(regex[1]);
    if (regex[1] == 's') {
      pattern.space_class = true;
      atom = 2;
    } else if (escape != std::string_view::npos || kLiteral.find(regex[1]) != std::string_view::npos) {
      pattern.character =
          static_cast<unsigned char>(escape == std::string_view::npos ? regex[1] : kMeant[escape]);
      atom = 2;
    }
  } else if (!regex.empty() && std::string_view(".^$*+?()[]{}|\\").find(regex[0]) == std::string_view::npos) {
    pattern.character = code_point_at(regex, 0);
    atom = utf8_length(regex[0]);
  }
  if (atom == 0 || !read_quantifier(std::string_view(regex).substr(atom), pattern)) {
    fail(where, ": the normalizer Replace has the regex ", quote_name(regex),
         "; only one character or \\s with +, {n}, {n,} or {n,m} is supported");
  }
  return pattern;
}

void apply_replace(const Pattern& pattern, const std::string& content, NormalizedText& text) {
  std::string out;
  std::vector<uint32_t> origin;
  size_t kept = 0;
  bool changed = false;
  const auto keep_until = [&](size_t end) {
    out.append(text.text, kept, end - kept);
    if (text.has_origin()) {
      origin.insert(origin.end(), text.origin.begin() + static_cast<std::ptrdiff_t>(kept),
                    text.origin.begin() + static_cast<std::ptrdiff_t>(end));
    }
  };
  for (size_t at = 0; at < text.text.size();) {
    const size_t length = pattern.match(text.text, at);
    if (length == 0) {
      at += utf8_length(text.text[at]);
      continue;
    }
    keep_until(at);
    out += content;
    check_growth(out.size(), text);
    // New characters share the origin of the last one that they replace.
    if (text.has_origin()) origin.insert(origin.end(), content.size(), text.origin[at + length - 1]);
    at = kept = at + length;
    changed = true;
  }
  if (!changed) return;
  keep_until(text.text.size());
  text.text = std::move(out);
  text.origin = std::move(origin);
}

Normalizer parse_replace(const json& description, const std::string& where) {
  only_keys(description, {"type", "pattern", "content"}, where);
  const json& pattern = member(description, "pattern", where);
  const std::string content = text_member(description, "content", where);
  Pattern parsed;
  if (pattern.is_object() && pattern.size() == 1 && pattern.contains("String")) {
    parsed.fixed = text_member(pattern, "String", where);
    if (parsed.fixed.empty()) fail(where, ": the normalizer Replace looks for an empty text");
  } else if (pattern.is_object() && pattern.size() == 1 && pattern.contains("Regex")) {
    parsed = parse_regex(text_member(pattern, "Regex", where), where);
  } else {
    fail(where, ": the normalizer Replace needs pattern {\"String\": ...} or {\"Regex\": ...}");
  }
  return [parsed, content](NormalizedText& text) { apply_replace(parsed, content, text); };
}

// ---- Strip, Lowercase, Prepend
// --------------------------------------------------------------------------------

void apply_strip(NormalizedText& text, bool left, bool right) {
  const std::string_view all = text.text;
  size_t from = 0, to = all.size();
  while (left && from < to && is_white_space(code_point_at(all, from))) {
    from += utf8_length(all[from]);
  }
  while (right && to > from) {
    const size_t before = previous_character(all, to);
    if (!is_white_space(code_point_at(all, before))) break;
    to = before;
  }
  if (text.has_origin()) {
    text.origin = {text.origin.begin() + static_cast<std::ptrdiff_t>(from),
                   text.origin.begin() + static_cast<std::ptrdiff_t>(to)};
  }
  text.text = text.text.substr(from, to - from);
}

void apply_lower_case(NormalizedText& text) {
  std::string out;
  std::vector<uint32_t> origin;
  for (size_t at = 0; at < text.text.size();) {
    const size_t length = utf8_length(text.text[at]);
    const std::string_view lower = lower_case(code_point_at(text.text, at));
    const std::string_view now = lower.empty() ? std::string_view(text.text).substr(at, length) : lower;
    out += now;
    if (text.has_origin()) origin.insert(origin.end(), now.size(), text.origin[at]);
    at += length;
  }
  text.text = std::move(out);
  text.origin = std::move(origin);
}

void apply_prepend(NormalizedText& text, const std::string& start) {
  if (text.text.empty()) return;
  if (text.has_origin()) text.origin.insert(text.origin.begin(), start.size(), text.origin.front());
  text.text.insert(0, start);
}

void parse_into(const json& description, const std::string& where, int depth,
                std::vector<Normalizer>& result) {
  if (description.is_null()) return;
  const std::string type = text_member(description, "type", where);
  if (depth > 8) fail(where, ": normalizers are nested more than 8 deep");
  if (type == "Sequence") {
    only_keys(description, {"type", "normalizers"}, where);
    const json& list = member(description, "normalizers", where);
    if (!list.is_array()) fail(where, ": normalizers must be a list");
    for (const json& each : list) {
      parse_into(each, where, depth + 1, result);
    }
  } else if (type == "Precompiled") {
    only_keys(description, {"type", "precompiled_charsmap"}, where);
    const std::string bytes = from_base64(text_member(description, "precompiled_charsmap", where), where);
    result.push_back(precompiled_normalizer(bytes, where));
  } else if (type == "Replace") {
    result.push_back(parse_replace(description, where));
  } else if (type == "Strip") {
    only_keys(description, {"type", "strip_left", "strip_right"}, where);
    const bool left = flag_member(description, "strip_left", {}, where);
    const bool right = flag_member(description, "strip_right", {}, where);
    result.emplace_back([left, right](NormalizedText& text) { apply_strip(text, left, right); });
  } else if (type == "Lowercase") {
    only_keys(description, {"type"}, where);
    result.emplace_back(apply_lower_case);
  } else if (type == "Prepend") {
    only_keys(description, {"type", "prepend"}, where);
    const std::string start = text_member(description, "prepend", where);
    result.emplace_back([start](NormalizedText& text) { apply_prepend(text, start); });
  } else {
    fail(where, ": the normalizer ", quote_name(type),
         " is not supported (there are Sequence, Precompiled, Replace, Strip, Lowercase, Prepend)");
  }
}

}  // namespace

NormalizedText::NormalizedText(std::string_view piece, size_t start, bool with_origin)
    : text(piece),
      begin(static_cast<uint32_t>(start)),
      most_bytes(kAlwaysAllowed + kMostGrowth * piece.size()) {
  if (!with_origin) return;
  origin.resize(piece.size());
  size_t character = 0;
  for (size_t at = 0; at < piece.size(); ++at) {
    if ((static_cast<unsigned char>(piece[at]) & 0xC0) != 0x80) character = at;
    origin[at] = static_cast<uint32_t>(start + character);
  }
}

NormalizedText NormalizedText::slice(size_t from, size_t to) const {
  NormalizedText result;
  result.text = text.substr(from, to - from);
  result.begin = begin;
  result.most_bytes = most_bytes;
  if (has_origin() && from < to) {
    result.origin.assign(origin.begin() + static_cast<std::ptrdiff_t>(from),
                         origin.begin() + static_cast<std::ptrdiff_t>(to));
    result.begin = origin[from];
  }
  return result;
}

void rewrite(NormalizedText& text, const std::vector<Change>& changes, size_t skipped) {
  const std::string_view old = text.text;
  size_t at = 0;  // in the old text
  const auto pass_one = [&] { at += at < old.size() ? utf8_length(old[at]) : 0; };
  for (; skipped > 0; --skipped) {
    pass_one();
  }
  std::string out;
  std::vector<uint32_t> origin;
  for (const auto& [character, change] : changes) {
    const size_t before = out.size();
    append_utf8(out, character);
    const size_t source = change > 0 ? (at == 0 ? 0 : at - 1) : std::min(at, old.size() - 1);
    origin.insert(origin.end(), out.size() - before, text.origin[source]);
    for (int passed = change; passed <= 0; ++passed) {
      pass_one();
    }
  }
  text.text = std::move(out);
  text.origin = std::move(origin);
}

std::vector<Normalizer> parse_normalizers(const json& description, const std::string& where) {
  std::vector<Normalizer> result;
  parse_into(description, where, 0, result);
  return result;
}

Normalizer precompiled_normalizer(std::string_view charsmap, const std::string& where) {
  const auto map = std::make_shared<const Charsmap>(charsmap, where);
  return [map](NormalizedText& text) { apply_charsmap(*map, text); };
}

std::string from_base64(std::string_view text, const std::string& where) {
  static const std::array<int8_t, 256> kDigits = [] {
    std::array<int8_t, 256> digits;
    digits.fill(-1);
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < kAlphabet.size(); ++i) {
      digits[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
    }
    return digits;
  }();
  const size_t whole = text.size();
  while (!text.empty() && text.back() == '=' && whole - text.size() < 2) {
    text.remove_suffix(1);
  }
  const bool right_size = whole % 4 == 0 && text.size() % 4 != 1;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char letter : text) {
    const int digit = kDigits[static_cast<unsigned char>(letter)];
    if (digit < 0 || !right_size) fail(where, ": the precompiled character map is not base64");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  return out;
}

}  // namespace rushes
