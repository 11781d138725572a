#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "kernels/common/cpu.h"

namespace rushes {
namespace {

// Every float16 and bfloat16, and float32s around each of them, against c10's conversions.
template <class T>
void compare_with_c10() {
  int64_t wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const T value(static_cast<uint16_t>(bits), T::from_bits());
    const auto expected = static_cast<float>(value);
    const float ours = to_float(value);
    if (std::isnan(expected)) {
      wrong += !std::isnan(ours) || !std::isnan(to_float(from_float<T>(ours)));
      continue;
    }
    wrong += std::bit_cast<uint32_t>(ours) != std::bit_cast<uint32_t>(expected);
    const auto next = static_cast<float>(T(static_cast<uint16_t>(bits ^ 1u), T::from_bits()));
    const float between = (expected + next) / 2;  // a tie, and the float32s beside it
    for (const float x :
         {expected, between, std::nextafter(between, -INFINITY), std::nextafter(between, INFINITY)}) {
      wrong += !std::isnan(x) && from_float<T>(x).x != T(x).x;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("16-bit formats are converted as c10 does") {
  compare_with_c10<c10::BFloat16>();
  compare_with_c10<c10::Half>();
  for (const float x : {65504.0f, 65519.99f, 65520.0f, 65536.0f, 1e30f, INFINITY, -INFINITY, 1e-30f, -0.0f,
                        0x1p-24f, 0x1p-25f, 0x1.8p-25f, 6.1e-5f}) {
    CHECK(from_float<c10::Half>(x).x == c10::Half(x).x);
    CHECK(from_float<c10::BFloat16>(x).x == c10::BFloat16(x).x);
  }
}

}  // namespace
}  // namespace rushes
