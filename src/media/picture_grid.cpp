#include "media/picture_grid.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace rushes {
namespace {

constexpr int64_t kGap = 4;
constexpr uint8_t kBackground = 32;
constexpr double kWideness = 1.6;  // of the whole, as screens are

/// Where a line of `from` pixels ends up as one of `to`: pixel i is the mean of what lies from i * from / to
/// to (i + 1) * from / to. In units of 1 / to of a pixel these are whole numbers, so the result is exact.
struct Share {
  int64_t pixel;
  int64_t weight;
};
std::vector<std::vector<Share>> shares(int64_t from, int64_t to) {
  std::vector<std::vector<Share>> all(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const int64_t begin = i * from, end = begin + from;
    for (int64_t pixel = begin / to; pixel * to < end; ++pixel) {
      const int64_t weight = std::min(end, (pixel + 1) * to) - std::max(begin, pixel * to);
      all[static_cast<size_t>(i)].push_back({pixel, weight});
    }
  }
  return all;
}

void paste(const Frames& picture, Frames& sheet, int64_t top, int64_t left) {
  for (int64_t y = 0; y < picture.height; ++y) {
    std::memcpy(sheet.rgb.data() + ((top + y) * sheet.width + left) * 3,
                picture.rgb.data() + y * picture.width * 3, static_cast<size_t>(picture.width * 3));
  }
}

}  // namespace

Frames shrink(const Frames& frames, int64_t index, int64_t height, int64_t width) {
  RUSHES_CHECK(index >= 0 && index < frames.count && height > 0 && width > 0 && height <= frames.height &&
                   width <= frames.width,
               "frame ", index, " of ", frames.count, ", ", frames.width, "x", frames.height, " to ", width,
               "x", height);
  const auto rows = shares(frames.height, height), columns = shares(frames.width, width);
  const int64_t area = frames.height * frames.width;  // the weights' sum
  const uint8_t* const source = frames.frame(index);
  Frames small{.count = 1, .height = height, .width = width, .rgb = {}};
  small.rgb.reserve(static_cast<size_t>(height * width * 3));
  for (const auto& row : rows) {
    for (const auto& column : columns) {
      int64_t sums[3] = {0, 0, 0};
      for (const Share& y : row) {
        for (const Share& x : column) {
          const uint8_t* const pixel = source + (y.pixel * frames.width + x.pixel) * 3;
          for (int colour = 0; colour < 3; ++colour)
            sums[colour] += y.weight * x.weight * pixel[colour];
        }
      }
      for (const int64_t sum : sums)
        small.rgb.push_back(static_cast<uint8_t>((sum + area / 2) / area));
    }
  }
  return small;
}

Frames thumbnail(const Frames& frames, int64_t index, int64_t most_side) {
  const int64_t longest = std::max({frames.height, frames.width, most_side});
  return shrink(frames, index, std::max<int64_t>(1, frames.height * most_side / longest),
                std::max<int64_t>(1, frames.width * most_side / longest));
}

Frames picture_grid(const std::vector<Frames>& pictures) {
  RUSHES_CHECK(!pictures.empty(), "no pictures");
  int64_t height = 0, width = 0;
  for (const Frames& picture : pictures) {
    RUSHES_CHECK(picture.count > 0, "a picture without a frame");
    height = std::max(height, picture.height);
    width = std::max(width, picture.width);
  }
  const auto count = static_cast<int64_t>(pictures.size());
  const double cells =
      std::sqrt(static_cast<double>(count * (height + kGap)) * kWideness / static_cast<double>(width + kGap));
  const int64_t columns = std::clamp<int64_t>(std::llround(cells), 1, count);
  const int64_t rows = (count + columns - 1) / columns;
  Frames sheet{.count = 1,
               .height = rows * (height + kGap) + kGap,
               .width = columns * (width + kGap) + kGap,
               .rgb = {}};
  sheet.rgb.assign(static_cast<size_t>(sheet.height * sheet.width * 3), kBackground);
  for (int64_t i = 0; i < count; ++i) {
    const Frames& picture = pictures[static_cast<size_t>(i)];
    paste(picture, sheet, kGap + i / columns * (height + kGap) + (height - picture.height) / 2,
          kGap + i % columns * (width + kGap) + (width - picture.width) / 2);
  }
  return sheet;
}

}  // namespace rushes
