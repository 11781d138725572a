#pragma once
// Finished pictures: 8-bit RGB, frame after frame.

#include <cstdint>
#include <vector>

namespace rushes {

/// rgb is [count, height, width, 3], row-major, values 0..255.
struct Frames {
  int64_t count = 0;
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> rgb;

  const uint8_t* frame(int64_t index) const { return rgb.data() + index * height * width * 3; }
};

}  // namespace rushes
