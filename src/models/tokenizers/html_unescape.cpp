#include "models/tokenizers/html_unescape.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "models/tokenizers/mojibake_codecs.h"
#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

struct Entity {
  std::string_view name, text;  // name: without '&', with the semicolon where it has one
};

#include "models/tokenizers/html_entities.inc"

template <size_t count>
std::optional<std::string_view> look_up(const Entity (&entities)[count], std::string_view name) {
  const Entity* found = std::lower_bound(std::begin(entities), std::end(entities), name,
                                         [](const Entity& e, std::string_view n) { return e.name < n; });
  if (found == std::end(entities) || found->name != name) return std::nullopt;
  return found->text;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void append_number(std::string& out, char32_t number) {
  if (number == 0 || (number >= 0xD800 && number <= 0xDFFF) || number > 0x10FFFF) {
    append_utf8(out, 0xFFFD);
  } else if (number >= 0x80 && number <= 0x9F) {
    append_utf8(out, mojibake::windows_1252(number));  // which is what HTML means by them
  } else if (number == 0x0D ||
             !(number < 0x09 || number == 0x0B || (number >= 0x0E && number <= 0x1F) || number == 0x7F ||
               (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE)) {
    append_utf8(out, number);
  }  // else a code point that is no character: nothing
}

/// "#38;", "#x26" at `at` (which is at the '#'): appends the character and returns the end, or `at` where it
/// is none.
size_t read_number(std::string_view text, size_t at, std::string& out) {
  size_t end = at + 1;
  const bool hex = end < text.size() && (text[end] == 'x' || text[end] == 'X');
  end += hex ? 1 : 0;
  const size_t first = end;
  char32_t number = 0;
  for (; end < text.size() && (hex ? is_hex_digit(text[end]) : is_digit(text[end])); ++end) {
    const char c = text[end];
    const auto digit = static_cast<char32_t>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    number = std::min<char32_t>(number * (hex ? 16 : 10) + digit, 0x110000);
  }
  if (end == first) return at;
  append_number(out, number);
  return end < text.size() && text[end] == ';' ? end + 1 : end;
}

/// The same for a name: up to 32 characters other than white space, '<', '&', '#' and ';', then perhaps ';'.
size_t read_name(std::string_view text, size_t at, std::string& out) {
  size_t end = at;
  for (int count = 0; count < 32 && end < text.size(); ++count) {
    if (std::string_view("\t\n\f <&#;").find(text[end]) != std::string_view::npos) break;
    end += utf8_length(text[end]);
  }
  if (end == at) return at;
  if (end < text.size() && text[end] == ';') ++end;
  if (const auto whole = look_up(kEntities, text.substr(at, end - at))) {
    out += *whole;
    return end;
  }
  // The longest name that it starts with; all names are ASCII and have two letters at least.
  for (size_t length = end - at - 1; length >= 2; --length) {
    if (const auto known = look_up(kEntities, text.substr(at, length))) {
      out += *known;
      return at + length;
    }
  }
  return at;
}

/// The reference "&...;" at `at` as ftfy reads it: appends what it stands for and returns its end, or `at`.
size_t read_ftfy(std::string_view text, size_t at, std::string& out) {
  const bool number = at + 1 < text.size() && text[at + 1] == '#';
  const size_t first = at + (number ? 2 : 1);
  size_t end = first;
  while (end < text.size() && end - first < 24 && is_alphanumeric(text[end])) {
    ++end;
  }
  if (end == first || end >= text.size() || text[end] != ';') return at;
  ++end;
  if (number) {
    std::string character;
    const std::string_view body = text.substr(at + 1, end - at - 1);
    // All of it must be used up, and give no semicolon.
    if (read_number(body, 0, character) != body.size() || character == ";") return at;
    out += character;
    return end;
  }
  const std::string_view name = text.substr(first, end - first);
  auto meant = look_up(kEntities, name);
  if (!meant) meant = look_up(kCapitalEntities, name);
  if (!meant) return at;
  out += *meant;
  return end;
}

/// "&amp;amp;": a '&' and the ends of the references after it that each stand for a '&'. They are of one
/// kind, names or numbers, so that what stands around sees the same letter or '#' whichever of them is next.
struct Nest {
  size_t begin = 0;
  std::vector<size_t> layers;
};

/// All references in the text. One that is no '&' is a nest without layers.
std::vector<Nest> find_nests(std::string_view text) {
  std::vector<Nest> nests;
  for (size_t at = text.find('&'); at != std::string_view::npos; at = text.find('&', at)) {
    Nest nest{at, {}};
    const auto is_number = [text](size_t before) { return text[before + 1] == '#'; };
    std::string meant;
    size_t end = read_ftfy(text, at, meant);
    const bool reference = end != at;
    while (end != at && meant == "&" && is_number(at) == is_number(nest.begin)) {
      nest.layers.push_back(end);
      at = end - 1;  // the semicolon has the '&' 's place
      meant.clear();
      end = read_ftfy(text, at, meant);
    }
    ++at;
    if (reference) nests.push_back(std::move(nest));
  }
  return nests;
}

}  // namespace

std::string html_unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '&' || at + 1 == text.size()) {
      out.push_back(text[at++]);
      continue;
    }
    const size_t body = at + 1;
    const size_t end = text[body] == '#' ? read_number(text, body, out) : read_name(text, body, out);
    if (end == body) out.push_back('&');
    at = end;
  }
  return out;
}

std::string ftfy_unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t end = text[at] == '&' ? read_ftfy(text, at, out) : at;
    if (end == at) {
      out.push_back(text[at++]);
    } else {
      at = end;
    }
  }
  return out;
}

std::string skip_nested_references(std::string text) {
  const std::vector<Nest> nests = find_nests(text);
  size_t passes = nests.empty() ? 0 : text.size();
  for (const Nest& nest : nests) {
    passes = std::min(passes, nest.layers.size() < 3 ? 0 : nest.layers.size() - 2);
  }
  if (passes == 0) return text;
  std::string out;
  size_t at = 0;
  for (const Nest& nest : nests) {
    out.append(text, at, nest.begin + 1 - at);
    at = nest.layers[passes - 1];
  }
  return out.append(text, at);
}

}  // namespace rushes
