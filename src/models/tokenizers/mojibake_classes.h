#pragma once
// The few hundred characters that UTF-8 turns into where it is read as a single-byte encoding, in the classes
// that ftfy 6.3 (Apache-2.0; ftfy/badness.py, and ftfy/chardata.py for the detector's) puts them in. Who
// belongs where is in mojibake_classes.inc.

#include <cstdint>

namespace rushes::mojibake {

/// One bit each, for a character may be in several.
enum Class : uint32_t {
  common = 1u << 0,
  c1 = 1u << 1,
  bad = 1u << 2,
  law = 1u << 3,
  currency = 1u << 4,
  start_punctuation = 1u << 5,
  end_punctuation = 1u << 6,
  numeric = 1u << 7,
  kaomoji = 1u << 8,
  upper_accented = 1u << 9,
  lower_accented = 1u << 10,
  upper_common = 1u << 11,
  lower_common = 1u << 12,
  box = 1u << 13,
  // How bytes of UTF-8 look in the encodings akin to Latin-1: the first of a sequence of two, three, four ...
  first_of_2 = 1u << 14,
  first_of_3 = 1u << 15,
  first_of_4 = 1u << 16,
  // ... and those after it; strict: the ones that hardly stand for themselves beside mojibake.
  continuation = 1u << 17,
  continuation_strict = 1u << 18,
  // Not ftfy's: a-z, A-Z, Python's white space.
  latin_lower = 1u << 19,
  latin_upper = 1u << 20,
  space = 1u << 21,
};

/// The classes that badness is judged by.
constexpr uint32_t kJudged = first_of_2 - 1;

uint32_t classes_of(char32_t c);

}  // namespace rushes::mojibake
