#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "media/picture_check.h"

using namespace rushes;

namespace {

template <class Pixel>
Frames paint(int64_t count, int64_t height, int64_t width, Pixel pixel) {
  Frames frames{.count = count, .height = height, .width = width, .rgb = {}};
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        for (int64_t c = 0; c < 3; ++c)
          frames.rgb.push_back(
              static_cast<uint8_t>(std::clamp<int64_t>(std::llround(double(pixel(t, y, x, c))), 0, 255)));
      }
    }
  }
  return frames;
}

/// Noise of this standard deviation around a grey; `cell`: pixels of the same value along both sides;
/// `held`: frames of the same noise.
Frames noise(int64_t count, int64_t height, int64_t width, double deviation, int64_t cell = 1,
             int64_t held = 1, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> values(static_cast<size_t>(count * height * width * 3));
  for (double& value : values)
    value = normal(random);
  return paint(count, height, width, [&](int64_t t, int64_t y, int64_t x, int64_t c) {
    const int64_t at = ((t / held * height + y / cell) * width + x / cell) * 3 + c;
    return 128 + deviation * values[static_cast<size_t>(at)];
  });
}

}  // namespace

TEST_CASE("black: every pixel of every frame, and nothing else") {
  const auto flat = [](int64_t value) {
    return paint(5, 16, 20, [=](int64_t, int64_t, int64_t, int64_t) { return value; });
  };
  CHECK(black_problem(flat(0)) == "the clip is black: every pixel of all 5 frames is at most 0 of 255");
  CHECK(black_problem(flat(4)) == "the clip is black: every pixel of all 5 frames is at most 4 of 255");
  CHECK(black_problem(flat(5)).empty());
  Frames spot = flat(1);
  spot.rgb.back() = 5;  // the last colour of the last pixel of the last frame
  CHECK(black_problem(spot).empty());
  spot.rgb.back() = 3;
  CHECK(black_problem(spot).find("at most 3") != std::string::npos);
  CHECK(black_problem(Frames()).empty());
}

TEST_CASE("noise: correlations are Pearson's") {
  // Columns of +-: each pixel is the opposite of its right neighbour and the same as the one below.
  const Frames stripes =
      paint(2, 40, 40, [](int64_t t, int64_t, int64_t x, int64_t) { return (x + t) % 2 == 0 ? 100 : 200; });
  CHECK(luma_correlation(stripes, 0, 0, 0, 1) == Approx(-1));
  CHECK(luma_correlation(stripes, 0, 0, 1, 0) == Approx(1));
  CHECK(luma_correlation(stripes, 0, 0, 1, 1) == Approx(-1));
  CHECK(luma_correlation(stripes, 0, 0, 0, 2) == Approx(1));
  CHECK(luma_correlation(stripes, 0, 1, 0, 0) == Approx(-1));
  // Luma is BT.709's: red changes across, green down, blue either way.
  const Frames colours = paint(1, 32, 32, [](int64_t, int64_t y, int64_t x, int64_t c) {
    const bool high = c == 0 ? x % 2 == 0 : c == 1 ? y % 2 == 0 : (x + y) % 2 == 0;
    return high ? 200 : 0;
  });
  const double red = 54 * 54, green = 183 * 183, blue = 19 * 19, all = red + green + blue;
  CHECK(luma_correlation(colours, 0, 0, 0, 1) == Approx((green - red - blue) / all));
  CHECK(luma_correlation(colours, 0, 0, 1, 0) == Approx((red - green - blue) / all));
  const Frames flat = paint(2, 32, 32, [](int64_t, int64_t, int64_t, int64_t) { return 77; });
  CHECK(luma_correlation(flat, 0, 0, 0, 1) == 0);
}

TEST_CASE("noise: static is told, of any size and strength") {
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{64, 64}, {65, 131}, {240, 416}}) {
    for (const double deviation : {20.0, 60.0, 500.0}) {  // the last: nearly all pixels at 0 or 255
      INFO(width << "x" << height << ", " << deviation);
      const std::string problem = noise_problem(noise(3, height, width, deviation));
      CHECK(problem.find("the clip is static noise: in all 3 frames") == 0);
    }
  }
  CHECK(!noise_problem(noise(1, 64, 64, 60)).empty());
}

TEST_CASE("noise: what is smooth, grainy, moving, held or too small is none") {
  CHECK(noise_problem(Frames()).empty());
  CHECK(noise_problem(noise(3, 64, 64, 60, /*cell=*/2)).empty());
  // Patches of 2 x 2 whose parts have nothing in common, each like the patches beside it.
  const Frames parts = noise(2, 64, 64, 60);
  CHECK(noise_problem(paint(2, 64, 64, [&](int64_t t, int64_t y, int64_t x, int64_t c) {
          return parts.frame(t)[((y % 2 + y / 4) * 64 + x % 2 * 32 + x / 4) * 3 + c];
        })).empty());
  CHECK(noise_problem(noise(4, 64, 64, 60, 1, /*held=*/4)).empty());  // a picture that stays
  CHECK(noise_problem(noise(3, 64, 64, 4)).empty());                  // grain on a grey wall
  CHECK(noise_problem(noise(3, 63, 200, 60)).empty());
  const Frames grain = noise(3, 64, 64, 20);
  // A gentle slope under strong grain.
  const Frames scene = paint(3, 64, 64, [&](int64_t t, int64_t y, int64_t x, int64_t c) {
    return 0.5 * grain.frame(t)[(y * 64 + x) * 3 + c] + static_cast<double>(x);
  });
  CHECK(noise_problem(scene).empty());
  // One picture among noise is enough.
  Frames mixed = noise(5, 64, 64, 60);
  for (int64_t i = 0; i < 64 * 64 * 3; ++i)
    mixed.rgb[static_cast<size_t>(4 * 64 * 64 * 3 + i)] = static_cast<uint8_t>(i / (64 * 3));
  CHECK(noise_problem(mixed).empty());
}
