#include "models/tokenizers/unicode.h"

#include <algorithm>
#include <iterator>

#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

struct CodePointRange {
  char32_t first, last;
};

enum class GraphemeClass {
  other,
  control,
  extend,
  zwj,
  prepend,
  spacing_mark,
  hangul_l,
  hangul_v,
  hangul_t,
  hangul_lv,
  hangul_lvt,
  regional_indicator,
  pictographic,
};

struct GraphemeRange {
  char32_t first, last;
  GraphemeClass kind;
};

struct Mapping {
  char32_t from;
  std::string_view to;
};

#include "models/tokenizers/unicode_tables.inc"

/// The row whose range holds `c`, or nullptr.
template <class Row, size_t count>
const Row* row_of(const Row (&rows)[count], char32_t c) {
  const Row* after = std::upper_bound(std::begin(rows), std::end(rows), c,
                                      [](char32_t value, const Row& row) { return value < row.first; });
  return after != std::begin(rows) && c <= (after - 1)->last ? after - 1 : nullptr;
}

template <size_t count>
std::string_view mapped(const Mapping (&rows)[count], char32_t c) {
  const Mapping* row = std::lower_bound(std::begin(rows), std::end(rows), c,
                                        [](const Mapping& a, char32_t value) { return a.from < value; });
  return row != std::end(rows) && row->from == c ? row->to : std::string_view();
}

GraphemeClass grapheme_class(char32_t c) {
  if (c >= 0x20 && c < 0x7F) return GraphemeClass::other;
  const GraphemeRange* row = row_of(kGraphemeRanges, c);
  return row == nullptr ? GraphemeClass::other : row->kind;
}

/// What the rules look back at, gathered from the start of the cluster.
struct ClusterState {
  GraphemeClass last = GraphemeClass::other;
  bool picture = false;           // GB11: pictographic, then only extenders
  bool picture_zwj = false;       // ... and a joiner last
  bool consonant = false;         // GB9c: consonant, then only extenders and linkers
  bool consonant_linked = false;  // ... with a linker among them
  bool odd_regional = false;      // GB12: an odd number of regional indicators

  void take(char32_t c, GraphemeClass kind) {
    picture_zwj = picture && kind == GraphemeClass::zwj;
    picture = kind == GraphemeClass::pictographic || (picture && kind == GraphemeClass::extend);
    if (row_of(kConjunctConsonants, c) != nullptr) {
      consonant = true;
      consonant_linked = false;
    } else if (consonant && row_of(kConjunctLinkers, c) != nullptr) {
      consonant_linked = true;
    } else if (consonant && row_of(kConjunctExtenders, c) == nullptr) {
      consonant = consonant_linked = false;
    }
    odd_regional = kind == GraphemeClass::regional_indicator && !odd_regional;
    last = kind;
  }

  bool joins(char32_t c, GraphemeClass kind) const {
    using G = GraphemeClass;
    if (last == G::control || kind == G::control) return false;  // GB4, GB5 (CR LF is seen to before)
    if (last == G::hangul_l &&
        (kind == G::hangul_l || kind == G::hangul_v || kind == G::hangul_lv || kind == G::hangul_lvt)) {
      return true;  // GB6
    }
    if ((last == G::hangul_lv || last == G::hangul_v) && (kind == G::hangul_v || kind == G::hangul_t)) {
      return true;  // GB7
    }
    if ((last == G::hangul_lvt || last == G::hangul_t) && kind == G::hangul_t) return true;  // GB8
    if (kind == G::extend || kind == G::zwj || kind == G::spacing_mark) return true;         // GB9, GB9a
    if (last == G::prepend) return true;                                                     // GB9b
    if (consonant_linked && row_of(kConjunctConsonants, c) != nullptr) return true;          // GB9c
    if (picture_zwj && kind == G::pictographic) return true;                                 // GB11
    return odd_regional && kind == G::regional_indicator;                                    // GB12, GB13
  }
};

}  // namespace

bool is_white_space(char32_t c) {
  return c == ' ' || (c >= 0x09 && c <= 0x0D) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

bool is_word_character(char32_t c) {
  return row_of(kWordRanges, c) != nullptr;
}

bool is_letter_or_number(char32_t c) {
  return row_of(kLettersAndNumbers, c) != nullptr;
}

bool is_decimal_digit(char32_t c) {
  return row_of(kDecimalDigits, c) != nullptr;
}

std::string_view lower_case(char32_t c) {
  return mapped(kLowerCase, c);
}

std::string_view standard_width(char32_t c) {
  return mapped(kStandardWidth, c);
}

size_t grapheme_end(std::string_view text, size_t position) {
  const char32_t first = code_point_at(text, position);
  size_t end = position + utf8_length(text[position]);
  if (end == text.size()) return end;
  if (first == '\r') return text[end] == '\n' ? end + 1 : end;  // GB3
  // Printable ASCII never joins printable ASCII: most text stops here.
  if (first >= 0x20 && first < 0x7F && text[end] >= 0x20 && text[end] < 0x7F) return end;
  ClusterState state;
  state.take(first, grapheme_class(first));
  while (end < text.size()) {
    const char32_t next = code_point_at(text, end);
    const GraphemeClass kind = grapheme_class(next);
    if (!state.joins(next, kind)) break;
    state.take(next, kind);
    end += utf8_length(text[end]);
  }
  return end;
}

}  // namespace rushes
