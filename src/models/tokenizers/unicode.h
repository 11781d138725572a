#pragma once
// What tokenizers and prompt cleaning need to know of characters. The tables are written by
// tools/text-tables.

#include <string_view>

namespace rushes {

/// The property White_Space: what Rust's char::is_whitespace and the regex \s mean.
bool is_white_space(char32_t c);
/// Python's str.isspace and the \s of its module re, which besides know the four separators U+001C to U+001F.
bool is_python_space(char32_t c);
/// Rust's regex \w: letters, marks, decimal digits, connector punctuation, joiners.
bool is_word_character(char32_t c);
/// Categories L and N: the \w of Python's module re, but for '_'.
bool is_letter_or_number(char32_t c);
/// Category Nd.
bool is_decimal_digit(char32_t c);
/// The character in lower case as UTF-8, or "" where it has no other.
std::string_view lower_case(char32_t c);
/// The usual form of a full-width or half-width character (U+FF01 to U+FFEF), or "".
std::string_view standard_width(char32_t c);

/// The end of the extended grapheme cluster that starts at `position` of valid UTF-8 (Unicode Standard Annex
/// 29).
size_t grapheme_end(std::string_view text, size_t position);

}  // namespace rushes
