#pragma once
// Many pictures as one: shrunk, in a grid of equal cells.

#include <cstdint>
#include <vector>

#include "media/frames.h"

namespace rushes {

/// Frame `index` in another size, no side longer than before: each pixel is the mean of the area that it
/// covers, rounded to nearest.
Frames shrink(const Frames& frames, int64_t index, int64_t height, int64_t width);

/// The same, no larger than most_side x most_side, its sides' ratio kept; a smaller one stays as it is.
Frames thumbnail(const Frames& frames, int64_t index, int64_t most_side);

/// The first frame of each picture, left to right and then top to bottom, as large as they are. Cells are as
/// large as the largest of them need, 4 pixels apart, on dark grey; the whole is about 1.6 times as wide as
/// high. There must be a picture, and each must have a frame.
Frames picture_grid(const std::vector<Frames>& pictures);

}  // namespace rushes
