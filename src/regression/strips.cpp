#include "regression/strips.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string_view>

#include "media/ffmpeg/image.h"

namespace rushes {
namespace {

constexpr int64_t kWidest = 240;               // pixels of one picture
constexpr int64_t kLosslessPixels = 64 << 10;  // of a row that is kept as PNG
constexpr int64_t kPictures = 6;

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k)
      text += k <= count ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

/// Which frames are shown, in order.
std::vector<int64_t> chosen(int64_t count, const ClipMetrics& metrics) {
  const bool equal = std::all_of(metrics.frames.begin(), metrics.frames.end(),
                                 [](const FrameMetrics& frame) { return frame.mse == 0; });
  const int64_t wanted = std::min(count, equal ? 3 : kPictures - 1);
  std::set<int64_t> frames;
  for (int64_t i = 0; i < wanted; ++i)
    frames.insert(wanted == 1 ? 0 : i * (count - 1) / (wanted - 1));
  frames.insert(metrics.worst_frame());
  return {frames.begin(), frames.end()};
}

/// Means of factor x factor pixels, the frames side by side.
template <class Pixel>
Frames row_of(const std::vector<int64_t>& frames, int64_t height, int64_t width, int64_t factor,
              Pixel pixel) {
  const int64_t h = height / factor, w = width / factor, n = static_cast<int64_t>(frames.size());
  Frames row{.count = 1, .height = h, .width = w * n, .rgb = {}};
  row.rgb.reserve(static_cast<size_t>(h * w * n * 3));
  for (int64_t y = 0; y < h; ++y) {
    for (const int64_t frame : frames) {
      for (int64_t at = 0; at < w * 3; ++at) {
        const int64_t x = at / 3, colour = at % 3;
        int64_t sum = 0;
        for (int64_t dy = 0; dy < factor; ++dy) {
          for (int64_t dx = 0; dx < factor; ++dx)
            sum += pixel(frame, ((y * factor + dy) * width + x * factor + dx) * 3 + colour);
        }
        row.rgb.push_back(static_cast<uint8_t>(sum / (factor * factor)));
      }
    }
  }
  return row;
}

std::string address(const Frames& row) {
  if (row.height * row.width <= kLosslessPixels) return "data:image/png;base64," + base64(encode_png(row, 0));
  return "data:image/jpeg;base64," + base64(encode_jpeg(row, 0));
}

}  // namespace

Strips make_strips(const Frames& reference, const Frames& output, const ClipMetrics& metrics) {
  Strips strips;
  strips.frames = chosen(std::min(reference.count, output.count), metrics);
  const int64_t height = output.height, width = output.width;
  const int64_t factor = std::max<int64_t>(1, std::min(height, (width + kWidest - 1) / kWidest));
  strips.height = height / factor;
  strips.width = width / factor;
  int largest = 0;
  for (const int64_t frame : strips.frames) {
    for (int64_t i = 0; i < height * width * 3; ++i)
      largest = std::max(largest, std::abs(reference.frame(frame)[i] - output.frame(frame)[i]));
  }
  // 1, 2, 4, ...: as much as shows the largest difference without clipping it.
  while (largest > 0 && largest * strips.gain * 2 <= 255)
    strips.gain *= 2;
  const auto value = [](const Frames& frames) {
    return [&frames](int64_t frame, int64_t at) -> int64_t { return frames.frame(frame)[at]; };
  };
  strips.reference = address(row_of(strips.frames, height, width, factor, value(reference)));
  strips.output = address(row_of(strips.frames, height, width, factor, value(output)));
  strips.difference = address(row_of(strips.frames, height, width, factor, [&](int64_t frame, int64_t at) {
    return std::abs(reference.frame(frame)[at] - output.frame(frame)[at]) * strips.gain;
  }));
  return strips;
}

}  // namespace rushes
