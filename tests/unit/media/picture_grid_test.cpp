#include <algorithm>
#include <catch2/catch.hpp>

#include "base/error.h"
#include "media/picture_grid.h"

using namespace rushes;

namespace {

Frames flat(int64_t height, int64_t width, uint8_t value) {
  Frames frames{.count = 1, .height = height, .width = width, .rgb = {}};
  frames.rgb.assign(static_cast<size_t>(height * width * 3), value);
  return frames;
}

const uint8_t* pixel(const Frames& frames, int64_t y, int64_t x) {
  return frames.rgb.data() + (y * frames.width + x) * 3;
}

}  // namespace

TEST_CASE("shrink: each pixel is the mean of its area") {
  // 2 frames of 2x3, of which the second counts: red 0 10 20 / 30 40 50.
  Frames frames{.count = 2, .height = 2, .width = 3, .rgb = std::vector<uint8_t>(36, 255)};
  for (int64_t i = 0; i < 6; ++i)
    frames.rgb[static_cast<size_t>(18 + 3 * i)] = static_cast<uint8_t>(10 * i);
  const Frames one = shrink(frames, 1, 1, 1);
  CHECK(one.rgb == std::vector<uint8_t>{25, 255, 255});
  // Width 2 of 3: the middle column goes half to either side, (0 + 10 / 2) / 1.5 = 3.33.
  const Frames two = shrink(frames, 1, 2, 2);
  CHECK(int(pixel(two, 0, 0)[0]) == 3);
  CHECK(int(pixel(two, 0, 1)[0]) == 17);
  CHECK(int(pixel(two, 1, 0)[0]) == 33);
  CHECK(int(pixel(two, 1, 1)[0]) == 47);
  const Frames same = shrink(frames, 1, 2, 3);
  CHECK(std::equal(same.rgb.begin(), same.rgb.end(), frames.rgb.begin() + 18));
  CHECK_THROWS_AS(shrink(frames, 1, 3, 3), InternalError);
  CHECK_THROWS_AS(shrink(frames, 2, 1, 1), InternalError);
}

TEST_CASE("thumbnail: the ratio stays, nothing grows") {
  const auto size = [](int64_t height, int64_t width) {
    const Frames small = thumbnail(flat(height, width, 9), 0, 192);
    CHECK(std::all_of(small.rgb.begin(), small.rgb.end(), [](uint8_t v) { return v == 9; }));
    return std::pair(small.height, small.width);
  };
  CHECK(size(64, 48) == std::pair<int64_t, int64_t>{64, 48});
  CHECK(size(480, 832) == std::pair<int64_t, int64_t>{110, 192});
  CHECK(size(1000, 1) == std::pair<int64_t, int64_t>{192, 1});
}

TEST_CASE("picture grid: in order, in the middle of equal cells") {
  std::vector<Frames> pictures;
  for (uint8_t i = 0; i < 60; ++i)
    pictures.push_back(flat(i == 7 ? 10 : 64, 64, static_cast<uint8_t>(100 + i)));
  const Frames sheet = picture_grid(pictures);
  CHECK(sheet.width == 10 * 68 + 4);
  CHECK(sheet.height == 6 * 68 + 4);
  for (int64_t i = 0; i < 60; ++i) {
    const int64_t top = 4 + i / 10 * 68, left = 4 + i % 10 * 68;
    CHECK(int(pixel(sheet, top + 32, left)[0]) == 100 + i);
    CHECK(int(pixel(sheet, top + 32, left + 63)[2]) == 100 + i);
    CHECK(int(pixel(sheet, top, left + 32)[0]) == (i == 7 ? 32 : 100 + i));
    CHECK(int(pixel(sheet, top + 32, left - 1)[1]) == 32);
  }
  const Frames one = picture_grid({flat(8, 8, 200)});
  CHECK(one.width == 16);
  CHECK(one.height == 16);
  CHECK_THROWS_AS(picture_grid({}), InternalError);
}
