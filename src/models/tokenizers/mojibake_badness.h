#pragma once
// Does a text look like mojibake? The heuristic of ftfy 6.3 (Apache-2.0; is_bad in ftfy/badness.py):
// neighbours that hardly any language puts side by side, such as a small accented letter before a currency
// sign.

#include <string_view>

namespace rushes::mojibake {

bool is_bad(std::u32string_view text);

}  // namespace rushes::mojibake
