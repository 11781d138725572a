#include "models/tokenizers/mojibake_classes.h"

#include <array>
#include <iterator>
#include <string_view>

#include "models/tokenizers/unicode.h"

namespace rushes::mojibake {
namespace {

struct Members {
  Class which;
  std::u16string_view characters;
};

#include "models/tokenizers/mojibake_classes.inc"

// All members but four lie below.
constexpr char32_t kTableEnd = 0x2600;
constexpr char32_t kFarMembers[] = {0xF8FF, 0xFB01, 0xFB02, 0xFFFD};

struct Table {
  std::array<uint32_t, kTableEnd> near{};
  std::array<uint32_t, std::size(kFarMembers)> far{};

  constexpr void add(char32_t c, uint32_t which) {
    if (c < kTableEnd) {
      near[c] |= which;
      return;
    }
    size_t row = 0;
    while (kFarMembers[row] != c)
      ++row;  // past the end: an error at compile time
    far[row] |= which;
  }
};

constexpr Table make_table() {
  Table table;
  for (const Members& members : kMembers) {
    const std::u16string_view all = members.characters;
    for (size_t i = 0; i < all.size(); ++i) {
      char32_t last = all[i];
      const char32_t first = last;
      if (i + 2 < all.size() && all[i + 1] == u'-') last = all[i += 2];
      for (char32_t c = first; c <= last; ++c) {
        table.add(c, members.which);
      }
    }
  }
  for (char32_t c = 'a'; c <= 'z'; ++c) {
    table.add(c, latin_lower);
    table.add(c - 'a' + 'A', latin_upper);
  }
  return table;
}

constexpr Table kTable = make_table();

}  // namespace

uint32_t classes_of(char32_t c) {
  const uint32_t also = is_python_space(c) ? space : 0u;
  if (c < kTableEnd) return kTable.near[c] | also;
  for (size_t row = 0; row < std::size(kFarMembers); ++row) {
    if (kFarMembers[row] == c) return kTable.far[row];
  }
  return also;
}

}  // namespace rushes::mojibake
