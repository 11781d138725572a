#include "models/tokenizers/mojibake_badness.h"

#include <cstddef>
#include <vector>

#include "models/tokenizers/mojibake_classes.h"
#include "models/tokenizers/unicode.h"

namespace rushes::mojibake {
namespace {

struct Set {
  uint32_t classes = 0;
  std::u16string_view also = {};

  bool empty() const { return classes == 0 && also.empty(); }
  bool has(char32_t c, uint32_t classes_of_c) const {
    return (classes & classes_of_c) != 0 ||
           (c < 0x10000 && also.find(static_cast<char16_t>(c)) != std::u16string_view::npos);
  }
};

/// Up to four neighbours, one from each set.
struct Rule {
  Set sets[4];
};

constexpr Set one_of(std::u16string_view characters) {
  return {0, characters};
}

constexpr uint32_t kAccented = lower_accented | upper_accented;
constexpr uint32_t kPunctuation = start_punctuation | end_punctuation;
constexpr uint32_t kBesideBad = kAccented | box | kPunctuation | currency | numeric | law;
constexpr Set kAfterArabicLead = {common | currency | bad | numeric | start_punctuation, u"ŸŠ®°µ»"};

// In each a character of the judged classes is the first or the second.
constexpr Rule kRules[] = {
    {{{kBesideBad | bad}, {bad}}},
    {{{bad}, {kBesideBad}}},
    {{{latin_lower | latin_upper}, {lower_common | upper_common}, {bad}}},
    {{{lower_accented | lower_common | box | end_punctuation | currency | numeric}, {upper_accented}}},
    {{{box | end_punctuation | currency | numeric}, {lower_accented}}},
    {{{lower_accented | box | end_punctuation}, {currency}}},
    {{{space}, {upper_accented}, {currency}}},
    {{{upper_accented | box}, {numeric | law}}},
    {{{kAccented | box | currency | end_punctuation}, {start_punctuation}, {numeric}}},
    {{{kAccented | currency | numeric | box | law}, {end_punctuation}, {start_punctuation}}},
    {{{currency | numeric | box}, {start_punctuation}}},
    {{{latin_lower}, {upper_accented}, {start_punctuation | currency}}},
    {{{box}, {kaomoji | end_punctuation}}},
    {{{kAccented | currency | numeric | kPunctuation | law}, {box}}},
    {{{upper_accented}, one_of(u"°")}},

    // Windows-1252: two characters, Arabic words (four characters, as the second of a pair is common), the
    // first two of three in scripts of South Asia, "à", "á" and U+00A0, and a lead before the very character
    // it encodes.
    {{one_of(u"ÂÃÎÐ"), {kPunctuation, u"€œŠš¢£Ÿž\u00A0\u00AD®©°·»–—´"}}},
    {{one_of(u"×"), one_of(u"²³")}},
    {{one_of(u"ØÙ"), kAfterArabicLead, one_of(u"ØÙ"), kAfterArabicLead}},
    {{one_of(u"à"), one_of(u"²µ¹¼½¾")}},
    {{one_of(u"Ã"), one_of(u"\u00A0¡")}},
    {{{latin_lower}, one_of(u"ÃÂ"), one_of(u" ")}},
    {{{latin_lower | end_punctuation, u".,?!"}, one_of(u"Â"), {kPunctuation, u" "}}},

    // Mac Roman.
    {{one_of(u"√"), one_of(u"±∂†≠®™´≤≥¥µø")}},
    {{one_of(u"≈"), one_of(u"°¢")}},
    {{one_of(u"‚"), one_of(u"Ä"), one_of(u"ìîïòôúùû†°¢π")}},
    {{one_of(u"‚"), one_of(u"âó"), one_of(u"àä°ê")}},

    // Windows-1251, 1253 and 1257: characters of U+2000 on, and letters, for which it takes three.
    {{one_of(u"в"), one_of(u"Ђ")}},
    {{one_of(u"ВГРС"), {c1 | bad | kPunctuation | currency, u"°µ"}, one_of(u"ВГРС")}},
    {{one_of(u"β"), one_of(u"€"), one_of(u"™\u00A0Ά\u00AD®°")}},
    {{one_of(u"ΒΓΞΟ"), {c1 | bad | kPunctuation | currency, u"°"}, one_of(u"ΒΓΞΟ")}},
    {{one_of(u"ā"), one_of(u"€")}},
};

/// A text and the classes of its characters.
struct Judged {
  std::u32string_view text;
  const std::vector<uint32_t>& classes;

  bool fits(const Rule& rule, size_t at) const {
    for (const Set& set : rule.sets) {
      if (set.empty()) break;
      if (at >= text.size() || !set.has(text[at], classes[at])) return false;
      ++at;
    }
    return true;
  }
  bool is_latin(size_t at) const { return (classes[at] & (latin_lower | latin_upper)) != 0; }
};

bool is_word_in_python(char32_t c) {
  return c == '_' || is_letter_or_number(c);
}

/// What is no row of sets.
bool fits_odd_rule(const Judged& judged, size_t at) {
  const std::u32string_view text = judged.text;
  const char32_t c = text[at];
  if (at + 1 == text.size()) return false;
  if ((c == U'Œ' || c == U'œ') && !judged.is_latin(at + 1)) return true;
  if ((judged.classes[at] & kAccented) != 0 && (judged.classes[at + 1] & kPunctuation) != 0 &&
      at + 2 < text.size() && is_word_in_python(text[at + 2])) {
    return true;
  }
  if ((c == U'Ã' || c == U'Â') && text[at + 1] == ' ') {
    if (at == 0) return true;
    return at >= 2 && (judged.classes[at - 1] & space) != 0 && (judged.classes[at - 2] & latin_lower) != 0;
  }
  // Windows-1252 read as Latin-1, and that as Windows-1251, with a Latin letter near.
  constexpr std::u32string_view kTwice = U"ГўВЂВ";
  if (c == kTwice[0] && text.substr(at, kTwice.size()) == kTwice && at + 6 < text.size()) {
    return text[at + 5] != '\n' && (judged.is_latin(at + 6) || text[at + 6] == ' ');
  }
  return false;
}

}  // namespace

bool is_bad(std::u32string_view text) {
  std::vector<uint32_t> classes(text.size());
  for (size_t at = 0; at < text.size(); ++at) {
    classes[at] = classes_of(text[at]);
    if ((classes[at] & c1) != 0) return true;
  }
  const Judged judged{text, classes};
  for (size_t at = 0; at + 1 < text.size(); ++at) {
    if (((classes[at] | classes[at + 1]) & kJudged) == 0) continue;
    for (const Rule& rule : kRules) {
      if (judged.fits(rule, at)) return true;
    }
    if (fits_odd_rule(judged, at)) return true;
  }
  return false;
}

}  // namespace rushes::mojibake
