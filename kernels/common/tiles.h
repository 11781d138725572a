#pragma once
// How work is cut into pieces.

#include <algorithm>
#include <cstdint>

namespace rushes {

/// Pieces of at most `piece` that `size` makes.
inline int64_t pieces(int64_t size, int64_t piece) {
  return (size + piece - 1) / piece;
}

/// Equal pieces, none over `most`, in multiples of 16 but for the last.
inline int64_t even_piece(int64_t size, int64_t most) {
  return std::min(size, pieces(pieces(size, pieces(size, most)), 16) * 16);
}

}  // namespace rushes
