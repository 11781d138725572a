#pragma once
// Prompts cleaned as diffusers 0.42 does for Wan (prompt_clean in pipelines/wan/pipeline_wan.py) where
// ftfy 6.3 is installed: ftfy.fix_text, html.unescape twice, white space collapsed to one space.
//
// All of ftfy's repairs are done: HTML entities (unless a line, or one before it, has a '<'), mojibake ("sÃ³"
// for "só"; see mojibake.h), C1 control characters as Windows-1252, Latin ligatures, full and half width,
// curly quotes, line breaks, terminal escapes, control characters, NFC.

#include <functional>
#include <string>

namespace rushes {

/// Unicode normalisation form C of valid UTF-8, given by whoever has it (see models/tokenizers/icu/nfc.h).
using NormalizeNfc = std::function<std::string(const std::string&)>;

/// `text`: UTF-8 without NUL, else UserError. Without `normalize_nfc` text with characters from U+0300 on, as
/// it is written or once repaired, is a UserError; all other text is in form C already.
std::string clean_prompt(const std::string& text, const NormalizeNfc& normalize_nfc);

/// ftfy.fix_text(text).
std::string fix_text(const std::string& text, const NormalizeNfc& normalize_nfc);

}  // namespace rushes
