#pragma once
// Prompts cleaned as diffusers 0.42 does for Wan (prompt_clean in pipelines/wan/pipeline_wan.py) where
// ftfy 6.3 is installed: ftfy.fix_text, html.unescape twice, white space collapsed to one space.
//
// Of ftfy's repairs the everyday ones are done: HTML entities (unless a line, or one before it, has a '<'),
// C1 control characters as Windows-1252, Latin ligatures, full and half width, curly quotes, line breaks,
// terminal escapes, control characters, NFC. Its guess at mojibake ("sÃ³" for "só", fix_encoding) is not:
// such text stays as it is written.

#include <functional>
#include <string>

namespace rushes {

/// Unicode normalisation form C of valid UTF-8, given by whoever has it (see models/tokenizers/icu/nfc.h).
using NormalizeNfc = std::function<std::string(const std::string&)>;

/// `text`: UTF-8 without NUL, else UserError. Without `normalize_nfc` text with characters from U+0300 on is
/// a UserError; all other text is in form C already.
std::string clean_prompt(const std::string& text, const NormalizeNfc& normalize_nfc);

/// ftfy.fix_text(text, fix_encoding=False).
std::string fix_text(const std::string& text, const NormalizeNfc& normalize_nfc);

}  // namespace rushes
