// What holds by definition; tests/oracle/test_metrics.py holds the values beside the reference programs.
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "media/metrics.h"

using namespace rushes;

namespace {

Frames noise(int64_t count, int64_t height, int64_t width, unsigned seed) {
  Frames frames{.count = count, .height = height, .width = width, .rgb = {}};
  std::mt19937 random(seed);
  for (int64_t i = 0; i < count * height * width * 3; ++i)
    frames.rgb.push_back(static_cast<uint8_t>(random() & 255));
  return frames;
}

}  // namespace

TEST_CASE("metrics: equal clips are 1, 1 and infinite, whatever their size") {
  for (const auto& [height, width] :
       {std::pair<int64_t, int64_t>{1, 1}, {2, 7}, {11, 11}, {64, 48}, {161, 170}}) {
    const Frames clip = noise(2, height, width, 7);
    const ClipMetrics same = compare_frames(clip, clip);
    CHECK(same.mean_ssim() == 1);
    CHECK(same.worst_ms_ssim() == 1);
    CHECK(std::isinf(same.mean_psnr()));
  }
}

TEST_CASE("metrics: a single picture window is the formula of the paper by hand") {
  // 1x1 pictures: window of one pixel, no variance, so only luminance is left.
  Frames a{.count = 1, .height = 1, .width = 1, .rgb = {10, 100, 255}};
  Frames b{.count = 1, .height = 1, .width = 1, .rgb = {20, 100, 0}};
  const double c1 = 2.55 * 2.55;
  const double want = ((2 * 10 * 20 + c1) / (100 + 400 + c1) + 1 + c1 / (255 * 255 + c1)) / 3;
  const FrameMetrics got = compare_frame(a, 0, b, 0);
  CHECK(got.ssim == Approx(want).epsilon(1e-14));
  CHECK(got.ms_ssim == Approx(want).epsilon(1e-14));
  CHECK(got.mse == Approx((100.0 + 255 * 255) / 3));
  CHECK(got.psnr() == Approx(10 * std::log10(255 * 255 / ((100.0 + 255 * 255) / 3))));
}

TEST_CASE("metrics: the worst frame is found, the mean holds the others, order does not matter") {
  const Frames a = noise(5, 40, 24, 1);
  Frames b = a;
  const int64_t frame = a.height * a.width * 3;
  for (int64_t i = 3 * frame; i < 4 * frame; ++i)
    b.rgb[static_cast<size_t>(i)] = static_cast<uint8_t>(255 - b.rgb[static_cast<size_t>(i)]);
  const ClipMetrics ab = compare_frames(a, b), ba = compare_frames(b, a);
  CHECK(ab.worst_frame() == 3);
  CHECK(ab.worst_ssim() < 0);
  CHECK(ab.worst_ms_ssim() == 0);
  CHECK(ab.frames[2].ssim == 1);
  CHECK(ab.mean_ssim() == Approx((4 + ab.worst_ssim()) / 5).epsilon(1e-14));
  CHECK(ab.mean_psnr() > ab.worst_psnr());
  CHECK(ab.mean_ssim() == Approx(ba.mean_ssim()).epsilon(1e-12));
}

TEST_CASE("metrics: as many scales as the smaller side allows") {
  for (const auto& [side, scales] : {std::pair<int64_t, int64_t>{5, 1},
                                     {20, 1},
                                     {21, 2},
                                     {40, 2},
                                     {41, 3},
                                     {64, 3},
                                     {81, 4},
                                     {160, 4},
                                     {161, 5},
                                     {4000, 5}}) {
    CHECK(ms_ssim_scales(side, 5000) == scales);
    CHECK(ms_ssim_scales(5000, side) == scales);
  }
}
