#pragma once
// Code points of UTF-8 text that is known to be valid (see is_utf8 in base/file.h).

#include <string>
#include <string_view>

namespace rushes {

/// Bytes of the character that starts with this byte.
inline size_t utf8_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// The code point at `position` (the start of a character).
inline char32_t code_point_at(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const auto more = [&](size_t i) { return static_cast<char32_t>(byte(i) & 0x3F); };
  switch (utf8_length(text[position])) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1Fu) << 6 | more(1);
    case 3:
      return (byte(0) & 0x0Fu) << 12 | more(1) << 6 | more(2);
    default:
      return (byte(0) & 0x07u) << 18 | more(1) << 12 | more(2) << 6 | more(3);
  }
}

/// The start of the character before `position` (> 0).
inline size_t previous_character(std::string_view text, size_t position) {
  do {
    --position;
  } while ((static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

inline void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

}  // namespace rushes
