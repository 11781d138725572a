#include "models/tokenizers/mojibake.h"

#include <algorithm>

#include "models/tokenizers/mojibake_badness.h"
#include "models/tokenizers/mojibake_classes.h"
#include "models/tokenizers/mojibake_codecs.h"
#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

using namespace mojibake;

std::u32string fix(std::u32string text);

/// The whole text taken back to bytes in the first encoding in which these are UTF-8.
std::optional<std::u32string> decode_whole(std::u32string_view text) {
  for (int i = 0; i <= static_cast<int>(kLastCodec); ++i) {
    const auto codec = static_cast<Codec>(i);
    std::optional<std::string> bytes = encode(codec, text);
    if (!bytes) continue;
    // In Mac Roman an en dash and a space would pass for it.
    if (codec != Codec::macroman) bytes = restore_byte_a0(*bytes);
    if (is_sloppy(codec)) bytes = replace_lossy_sequences(*bytes);
    if (std::optional<std::u32string> decoded = decode_utf8_variants(*bytes)) return decoded;
  }
  return std::nullopt;
}

/// The end of a run of characters from `at` that look like sequences of UTF-8 in some encoding, or `at`.
size_t sequences_end(std::u32string_view text, size_t at) {
  const auto continues = [text](size_t begin, size_t count) {
    if (begin + count > text.size()) return false;
    return std::all_of(text.begin() + begin, text.begin() + begin + count,
                       [](char32_t c) { return (classes_of(c) & continuation) != 0; });
  };
  while (at < text.size()) {
    const uint32_t lead = classes_of(text[at]);
    if ((lead & first_of_2) != 0 && continues(at + 1, 1)) {
      at += 2;
    } else if ((lead & first_of_3) != 0 && continues(at + 1, 2)) {
      at += 3;
    } else if ((lead & first_of_4) != 0 && continues(at + 1, 3)) {
      at += 4;
    } else {
      break;
    }
  }
  return at;
}

/// Parts that look like mojibake repaired by themselves: ftfy's decode_inconsistent_utf8.
std::u32string fix_parts(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    // Behind a byte that has lost its lead a few characters repaired would only make things worse.
    const bool open = at == 0 || (classes_of(text[at - 1]) & continuation_strict) == 0;
    const size_t end = open ? sequences_end(text, at) : at;
    if (end == at) {
      out.push_back(text[at++]);
      continue;
    }
    const std::u32string_view part = text.substr(at, end - at);
    if (part.size() < text.size() && is_bad(part)) {
      out += fix(std::u32string(part));
    } else {
      out += part;
    }
    at = end;
  }
  return out;
}

std::u32string fix_once(const std::u32string& text) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80; });
  if (ascii || !is_bad(text)) return text;
  if (std::optional<std::u32string> decoded = decode_whole(text)) return *std::move(decoded);
  std::u32string fixed = fix_parts(text);
  if (fixed != text) return fixed;
  // What is left of C1 controls was Windows-1252 in Latin-1's clothes.
  for (char32_t& c : fixed) {
    if (c >= 0x80 && c < 0xA0) c = windows_1252(c);
  }
  return fixed;
}

std::u32string fix(std::u32string text) {
  while (true) {
    std::u32string fixed = fix_once(text);
    if (fixed == text) return text;
    text = std::move(fixed);
  }
}

}  // namespace

std::string fix_encoding(const std::string& text) {
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char byte) { return static_cast<unsigned char>(byte) < 0x80; });
  if (ascii) return text;
  std::u32string wide;
  wide.reserve(text.size());
  for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    wide.push_back(code_point_at(text, at));
  }
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : fix(std::move(wide))) {
    append_utf8(out, c);
  }
  return out;
}

}  // namespace rushes
