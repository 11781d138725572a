#include "media/picture_check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "base/str.h"

namespace rushes {
namespace {

constexpr int kBlack = 4;              // of 255: what rounding and a VAE's last bits leave of black
constexpr double kDeviations = 2.5;    // of r by chance; a frame of static has more once in 100,000
constexpr double kLeastDeviation = 8;  // of luma; less is an even picture with a little grain
constexpr int64_t kLeastSide = 64;
// Rows and columns to the neighbours looked at. Those two away tell the patches of 2 x 2 pixels that some
// VAEs decode to, whose parts may have nothing in common.
constexpr std::pair<int64_t, int64_t> kNeighbours[] = {{0, 1}, {1, 0}, {1, 1}, {0, 2}, {2, 0}};

/// 256 times the luma, so that sums are whole numbers; below 2^16.
std::vector<int32_t> luma_of(const Frames& frames, int64_t index) {
  std::vector<int32_t> luma(static_cast<size_t>(frames.height * frames.width));
  const uint8_t* rgb = frames.frame(index);
  for (int32_t& value : luma) {
    value = 54 * rgb[0] + 183 * rgb[1] + 19 * rgb[2];
    rgb += 3;
  }
  return luma;
}

/// A frame's luma, times 256.
struct Plane {
  int64_t height = 0, width = 0;
  std::vector<int32_t> luma;
  double mean = 0;
  double variance = 0;
};

Plane plane_of(const Frames& frames, int64_t index) {
  Plane plane{frames.height, frames.width, luma_of(frames, index)};
  int64_t sum = 0, squares = 0;
  for (const int64_t value : plane.luma) {
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(plane.luma.size());
  plane.mean = static_cast<double>(sum) / count;
  plane.variance = std::max(0.0, static_cast<double>(squares) / count - plane.mean * plane.mean);
  return plane;
}

double correlation(const Plane& a, const Plane& b, int64_t rows, int64_t columns) {
  const double scale = std::sqrt(a.variance * b.variance);
  const int64_t pairs = (a.height - rows) * (a.width - columns);
  if (scale <= 0 || pairs <= 0) return 0;
  double sum = 0;
  for (int64_t y = 0; y + rows < a.height; ++y) {
    const int32_t* const one = a.luma.data() + y * a.width;
    const int32_t* const other = b.luma.data() + (y + rows) * b.width + columns;
    for (int64_t x = 0; x + columns < a.width; ++x)
      sum += (one[x] - a.mean) * (other[x] - b.mean);
  }
  return sum / static_cast<double>(pairs) / scale;
}

/// `next` is the frame behind it, if there is one.
bool is_static(const Plane& plane, const Plane* next, double limit) {
  if (std::sqrt(plane.variance) / 256 < kLeastDeviation) return false;
  std::vector<double> all;
  for (const auto& [rows, columns] : kNeighbours)
    all.push_back(correlation(plane, plane, rows, columns));
  if (next != nullptr) all.push_back(correlation(plane, *next, 0, 0));
  double squares = 0;
  for (const double r : all)
    squares += r * r;
  return std::sqrt(squares / static_cast<double>(all.size())) < limit;
}

}  // namespace

double luma_correlation(const Frames& frames, int64_t a, int64_t b, int64_t rows, int64_t columns) {
  return correlation(plane_of(frames, a), plane_of(frames, b), rows, columns);
}

std::string black_problem(const Frames& frames) {
  if (frames.rgb.empty()) return {};
  const auto bright = std::find_if(frames.rgb.begin(), frames.rgb.end(), [](int v) { return v > kBlack; });
  if (bright != frames.rgb.end()) return {};
  const int most = *std::max_element(frames.rgb.begin(), frames.rgb.end());
  return str("the clip is black: every pixel of all ", frames.count, " frames is at most ", most, " of 255");
}

std::string noise_problem(const Frames& frames) {
  if (frames.rgb.empty() || std::min(frames.height, frames.width) < kLeastSide) return {};
  const double limit = kDeviations / std::sqrt(static_cast<double>(frames.height * frames.width));
  Plane plane = plane_of(frames, 0);
  for (int64_t index = 0; index < frames.count; ++index) {
    const bool last = index + 1 == frames.count;
    Plane next = last ? Plane() : plane_of(frames, index + 1);
    if (!is_static(plane, last ? nullptr : &next, limit)) return {};
    plane = std::move(next);
  }
  char text[32];
  snprintf(text, sizeof text, "%.3f", limit);
  return str("the clip is static noise: in all ", frames.count,
             " frames pixels have nothing in common with their neighbours (correlations of less than ", text,
             ")");
}

}  // namespace rushes
