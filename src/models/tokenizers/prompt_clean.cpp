#include "models/tokenizers/prompt_clean.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "models/tokenizers/html_unescape.h"
#include "models/tokenizers/mojibake.h"
#include "models/tokenizers/mojibake_codecs.h"
#include "models/tokenizers/unicode.h"
#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

// ftfy looks at lines one by one, and at no more than this many characters at once.
constexpr size_t kSegmentCharacters = 1000000;

struct Ligature {
  char32_t from;
  std::string_view to;
};
constexpr Ligature kLigatures[] = {
    {U'\u0132', "IJ"},      {U'\u0133', "ij"},      {U'\u0149', "\u02BCn"}, {U'\u01C4', "D\u017D"},
    {U'\u01C5', "D\u017E"}, {U'\u01C6', "d\u017E"}, {U'\u01C7', "LJ"},      {U'\u01C8', "Lj"},
    {U'\u01C9', "lj"},      {U'\u01CA', "NJ"},      {U'\u01CB', "Nj"},      {U'\u01CC', "nj"},
    {U'\u01F1', "DZ"},      {U'\u01F2', "Dz"},      {U'\u01F3', "dz"},      {U'\uFB00', "ff"},
    {U'\uFB01', "fi"},      {U'\uFB02', "fl"},      {U'\uFB03', "ffi"},     {U'\uFB04', "ffl"},
    {U'\uFB05', "\u017Ft"}, {U'\uFB06', "st"},
};

std::string_view ligature(char32_t c) {
  if (c < 0x132 || (c > 0x1F3 && c < 0xFB00) || c > 0xFB06) return {};
  for (const Ligature& each : kLigatures) {
    if (each.from == c) return each.to;
  }
  return {};
}

/// ftfy's uncurl_quotes, then fix_line_breaks of single characters.
char32_t plain_form(char32_t c) {
  if (c >= 0x201C && c <= 0x201F) return '"';
  if (c == 0x02BC || (c >= 0x2018 && c <= 0x201B)) return '\'';
  if (c == 0x2028 || c == 0x2029 || c == 0x85) return '\n';
  return c;
}

/// The fixers that look at one character each, in ftfy's order: C1 controls, ligatures, width, quotes, line
/// breaks.
std::string fix_characters(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  const auto put_plain = [&out](std::string_view part) {
    for (size_t at = 0; at < part.size(); at += utf8_length(part[at])) {
      append_utf8(out, plain_form(code_point_at(part, at)));
    }
  };
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text[at]);
    char32_t c = code_point_at(text, at);
    at += length;
    if (c == '\r') {
      out.push_back('\n');
      if (at < text.size() && text[at] == '\n') ++at;
    } else if (c < 0x80) {
      out.push_back(static_cast<char>(c));
    } else {
      if (c < 0xA0) c = mojibake::windows_1252(c);
      if (const std::string_view open = ligature(c); !open.empty()) {
        put_plain(open);
      } else if (c == 0x3000) {
        out.push_back(' ');
      } else if (const std::string_view usual = standard_width(c); !usual.empty()) {
        put_plain(usual);
      } else {
        append_utf8(out, plain_form(c));
      }
    }
  }
  return out;
}

/// The end of a terminal escape ESC [ (digits and ';') letter at `at`, or `at` where there is none.
size_t terminal_escape_end(std::string_view text, size_t at) {
  if (text[at] != '\x1B' || at + 1 >= text.size() || text[at + 1] != '[') return at;
  size_t end = at + 2;
  while (end < text.size() && (text[end] == ';' || is_decimal_digit(code_point_at(text, end)))) {
    end += utf8_length(text[end]);
  }
  const bool letter =
      end < text.size() && ((text[end] >= 'a' && text[end] <= 'z') || (text[end] >= 'A' && text[end] <= 'Z'));
  return letter ? end + 1 : at;
}

bool is_unwanted_control(char32_t c) {
  return c < 0x09 || c == 0x0B || (c >= 0x0E && c < 0x20) || c == 0x7F || (c >= 0x206A && c <= 0x206F) ||
         c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

/// remove_terminal_escapes, then remove_control_chars.
std::string remove_controls(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t escape_end = terminal_escape_end(text, at);
    if (escape_end != at) {
      at = escape_end;
      continue;
    }
    const size_t length = utf8_length(text[at]);
    if (!is_unwanted_control(code_point_at(text, at))) out += text.substr(at, length);
    at += length;
  }
  return out;
}

std::string to_nfc(std::string text, const NormalizeNfc& normalize_nfc) {
  // Below U+0300 every text is in form C: nothing combines, nothing is decomposed into such.
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char byte) { return static_cast<unsigned char>(byte) < 0xCC; });
  if (plain) return text;
  if (!normalize_nfc)
    fail("this text needs Unicode normalisation, which this build does not have: ", text.substr(0, 60));
  return normalize_nfc(text);
}

/// ftfy's fix_and_explain: all fixers, until nothing changes.
std::string fix_segment(std::string text, bool unescape, const NormalizeNfc& normalize_nfc) {
  while (true) {
    const std::string plain = unescape ? ftfy_unescape(text) : text;
    std::string fixed = to_nfc(remove_controls(fix_characters(fix_encoding(plain))), normalize_nfc);
    if (fixed == text) return text;
    // Where only references changed the next rounds will do no more, so that those of deep nests are passed
    // over.
    text = fixed == plain ? skip_nested_references(std::move(fixed)) : std::move(fixed);
  }
}

std::string_view strip(std::string_view text) {
  while (!text.empty() && is_python_space(code_point_at(text, 0))) {
    text.remove_prefix(utf8_length(text[0]));
  }
  while (!text.empty()) {
    const size_t last = previous_character(text, text.size());
    if (!is_python_space(code_point_at(text, last))) break;
    text = text.substr(0, last);
  }
  return text;
}

std::string collapse_white_space(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool space = false;
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text[at]);
    const bool here = is_white_space(code_point_at(text, at));
    if (!here) {
      out += text.substr(at, length);
    } else if (!space) {
      out.push_back(' ');
    }
    space = here;
    at += length;
  }
  return out;
}

}  // namespace

std::string fix_text(const std::string& text, const NormalizeNfc& normalize_nfc) {
  std::string out;
  bool unescape = true;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    for (size_t count = 0; end < text.size() && count < kSegmentCharacters; ++count) {
      const char c = text[end];
      end += utf8_length(c);
      if (c == '\n') break;
    }
    std::string segment = text.substr(begin, end - begin);
    // What looks like HTML keeps its references, and so does all after it.
    if (segment.find('<') != std::string::npos) unescape = false;
    out += fix_segment(std::move(segment), unescape, normalize_nfc);
    begin = end;
  }
  return out;
}

std::string clean_prompt(const std::string& text, const NormalizeNfc& normalize_nfc) {
  if (!is_utf8(text)) fail("the text is not UTF-8 (or holds a NUL)");
  const std::string plain = html_unescape(html_unescape(fix_text(text, normalize_nfc)));
  return std::string(strip(collapse_white_space(strip(plain))));
}

}  // namespace rushes
