#include "media/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace rushes {
namespace {

constexpr double kRange = 255;
constexpr double kC1 = (0.01 * kRange) * (0.01 * kRange);
constexpr double kC2 = (0.03 * kRange) * (0.03 * kRange);
constexpr double kSigma = 1.5;
constexpr int64_t kWindow = 11;
constexpr std::array<double, 5> kWeights = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};

/// One colour of one frame.
struct Plane {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<double> values;

  const double* row(int64_t y) const { return values.data() + y * width; }
};

Plane plane_of(const Frames& frames, int64_t index, int64_t colour) {
  Plane plane{frames.height, frames.width, {}};
  plane.values.resize(static_cast<size_t>(frames.height * frames.width));
  const uint8_t* rgb = frames.frame(index) + colour;
  for (size_t i = 0; i < plane.values.size(); ++i)
    plane.values[i] = rgb[3 * i];
  return plane;
}

/// The window for a side: 11 taps, or the largest odd number that fits.
std::vector<double> gaussian(int64_t side) {
  const int64_t size = std::min(kWindow, side - (side + 1) % 2);
  std::vector<double> window;
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    const auto x = static_cast<double>(i - size / 2);
    window.push_back(std::exp(-x * x / (2 * kSigma * kSigma)));
    sum += window.back();
  }
  for (double& weight : window)
    weight /= sum;
  return window;
}

/// Means of the maps over all windows: SSIM, and its part without luminance (contrast and structure).
struct Similarity {
  double ssim = 0;
  double structure = 0;
};

/// Window sums of a row of windows, before they are taken along the row. SSIM needs the variances only added
/// up, so four sums do: of a, b, a^2 + b^2 and ab.
struct Columns {
  explicit Columns(int64_t width) : a(width), b(width), squares(width), product(width) {}
  std::vector<double> a, b, squares, product;

  void down(const Plane& left, const Plane& right, int64_t y, const std::vector<double>& window) {
    for (std::vector<double>* column : {&a, &b, &squares, &product})
      std::fill(column->begin(), column->end(), 0.0);
    double* const into_a = a.data();
    double* const into_b = b.data();
    double* const into_squares = squares.data();
    double* const into_product = product.data();
    for (size_t tap = 0; tap < window.size(); ++tap) {
      const double weight = window[tap];
      const double* const row_a = left.row(y + static_cast<int64_t>(tap));
      const double* const row_b = right.row(y + static_cast<int64_t>(tap));
#pragma GCC ivdep
      for (int64_t x = 0; x < left.width; ++x) {
        const double p = row_a[x], q = row_b[x];
        into_a[x] += weight * p;
        into_b[x] += weight * q;
        into_squares[x] += weight * (p * p + q * q);
        into_product[x] += weight * (p * q);
      }
    }
  }
};

/// out[x] = sum over taps of window[tap] * in[x + tap].
void along(const std::vector<double>& in, const std::vector<double>& window, std::vector<double>& out) {
  std::fill(out.begin(), out.end(), 0.0);
  for (size_t tap = 0; tap < window.size(); ++tap) {
    const double weight = window[tap];
    const double* const from = in.data() + tap;
    double* const to = out.data();
#pragma GCC ivdep
    for (size_t x = 0; x < out.size(); ++x)
      to[x] += weight * from[x];
  }
}

Similarity similarity(const Plane& left, const Plane& right) {
  const std::vector<double> vertical = gaussian(left.height), horizontal = gaussian(left.width);
  const int64_t rows = left.height - static_cast<int64_t>(vertical.size()) + 1;
  const int64_t columns = left.width - static_cast<int64_t>(horizontal.size()) + 1;
  Columns sums(left.width);
  std::vector<double> a(columns), b(columns), squares(columns), product(columns);
  Similarity total;
  for (int64_t y = 0; y < rows; ++y) {
    sums.down(left, right, y, vertical);
    along(sums.a, horizontal, a);
    along(sums.b, horizontal, b);
    along(sums.squares, horizontal, squares);
    along(sums.product, horizontal, product);
    for (int64_t x = 0; x < columns; ++x) {
      const double mean_squares = a[x] * a[x] + b[x] * b[x], mean_product = a[x] * b[x];
      const double variances = squares[x] - mean_squares, covariance = product[x] - mean_product;
      const double structure = (2 * covariance + kC2) / (variances + kC2);
      total.structure += structure;
      total.ssim += structure * (2 * mean_product + kC1) / (mean_squares + kC1);
    }
  }
  const auto windows = static_cast<double>(rows * columns);
  return {total.ssim / windows, total.structure / windows};
}

/// Half the size: means of 2x2; an odd side has a line of zeros in front, which counts in the mean, as
/// avg_pool2d(kernel_size=2, padding=side % 2) has it.
Plane halved(const Plane& plane) {
  const int64_t pad_y = plane.height % 2, pad_x = plane.width % 2;
  Plane half{(plane.height + pad_y) / 2, (plane.width + pad_x) / 2, {}};
  half.values.resize(static_cast<size_t>(half.height * half.width));
  const auto at = [&](int64_t y, int64_t x) { return y < 0 || x < 0 ? 0.0 : plane.row(y)[x]; };
  for (int64_t y = 0; y < half.height; ++y) {
    for (int64_t x = 0; x < half.width; ++x) {
      const int64_t top = 2 * y - pad_y, left = 2 * x - pad_x;
      half.values[static_cast<size_t>(y * half.width + x)] =
          (at(top, left) + at(top, left + 1) + at(top + 1, left) + at(top + 1, left + 1)) / 4;
    }
  }
  return half;
}

double mean_squared_error(const uint8_t* a, const uint8_t* b, int64_t count) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int difference = a[i] - b[i];
    sum += difference * difference;
  }
  return static_cast<double>(sum) / static_cast<double>(count);
}

double psnr_of(double mse) {
  return mse == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(kRange * kRange / mse);
}

template <class Value>
double mean_over(const std::vector<FrameMetrics>& frames, Value value) {
  double sum = 0;
  for (const FrameMetrics& frame : frames)
    sum += value(frame);
  return sum / static_cast<double>(frames.size());
}

template <class Value>
double least_of(const std::vector<FrameMetrics>& frames, Value value) {
  double least = std::numeric_limits<double>::infinity();
  for (const FrameMetrics& frame : frames)
    least = std::min(least, value(frame));
  return least;
}

double ssim_of(const FrameMetrics& frame) {
  return frame.ssim;
}
double ms_ssim_of(const FrameMetrics& frame) {
  return frame.ms_ssim;
}
double mse_of(const FrameMetrics& frame) {
  return frame.mse;
}

}  // namespace

double FrameMetrics::psnr() const {
  return psnr_of(mse);
}

double ClipMetrics::mean_ssim() const {
  return mean_over(frames, ssim_of);
}
double ClipMetrics::mean_ms_ssim() const {
  return mean_over(frames, ms_ssim_of);
}
double ClipMetrics::mean_psnr() const {
  return psnr_of(mean_over(frames, mse_of));
}
double ClipMetrics::worst_ssim() const {
  return least_of(frames, ssim_of);
}
double ClipMetrics::worst_ms_ssim() const {
  return least_of(frames, ms_ssim_of);
}
double ClipMetrics::worst_psnr() const {
  return least_of(frames, [](const FrameMetrics& frame) { return frame.psnr(); });
}
int64_t ClipMetrics::worst_frame() const {
  const auto worst = std::min_element(
      frames.begin(), frames.end(), [](const auto& one, const auto& other) { return one.ssim < other.ssim; });
  return worst - frames.begin();
}

int64_t ms_ssim_scales(int64_t height, int64_t width) {
  const int64_t side = std::min(height, width);
  int64_t scales = 1;
  while (scales < static_cast<int64_t>(kWeights.size()) && side > (kWindow - 1) << scales)
    ++scales;
  return scales;
}

FrameMetrics compare_frame(const Frames& a, int64_t a_index, const Frames& b, int64_t b_index) {
  RUSHES_CHECK(a.height == b.height && a.width == b.width && a.height > 0 && a.width > 0, a.height, "x",
               a.width, " and ", b.height, "x", b.width);
  const int64_t samples = a.height * a.width * 3;
  FrameMetrics metrics;
  metrics.mse = mean_squared_error(a.frame(a_index), b.frame(b_index), samples);
  // Equal pictures have these values by definition, not only up to rounding.
  if (metrics.mse == 0) return {1, 1, 0};
  const int64_t scales = ms_ssim_scales(a.height, a.width);
  double weights = 0;
  for (int64_t scale = 0; scale < scales; ++scale)
    weights += kWeights[static_cast<size_t>(scale)];
  // Of all five the weights stay as published, though they add up to 1.0001.
  if (scales == static_cast<int64_t>(kWeights.size())) weights = 1;
  for (int64_t colour = 0; colour < 3; ++colour) {
    Plane left = plane_of(a, a_index, colour), right = plane_of(b, b_index, colour);
    double product = 1;
    for (int64_t scale = 0; scale < scales; ++scale) {
      const Similarity now = similarity(left, right);
      if (scale == 0) metrics.ssim += now.ssim / 3;
      const bool last = scale + 1 == scales;
      product *= std::pow(std::max(0.0, last ? now.ssim : now.structure),
                          kWeights[static_cast<size_t>(scale)] / weights);
      if (last) break;
      left = halved(left);
      right = halved(right);
    }
    metrics.ms_ssim += product / 3;
  }
  return metrics;
}

ClipMetrics compare_frames(const Frames& a, const Frames& b) {
  const int64_t count = std::min(a.count, b.count);
  RUSHES_CHECK(count > 0, a.count, " and ", b.count, " frames");
  ClipMetrics metrics;
  for (int64_t index = 0; index < count; ++index)
    metrics.frames.push_back(compare_frame(a, index, b, index));
  return metrics;
}

}  // namespace rushes
