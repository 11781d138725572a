#pragma once
// What the CPU halves of the ops share: number formats whose conversions a compiler can vectorise, and one
// body of code compiled for several instruction sets and chosen at run time.

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/common/number_format.h"

namespace rushes {

#define RUSHES_INLINE inline __attribute__((always_inline))

RUSHES_INLINE float to_float(float value) {
  return value;
}
RUSHES_INLINE float to_float(c10::BFloat16 value) {
  return std::bit_cast<float>(uint32_t{value.x} << 16);
}
// Without branches, which compilers vectorise (they do not vectorise the processor's own conversion): the
// exponent is moved from bias 15 to 127 by a multiplication, which also brings subnormals right.
RUSHES_INLINE float to_float(c10::Half value) {
  const uint32_t magnitude = value.x & 0x7fffu, sign = (value.x & 0x8000u) << 16;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;  // infinity and NaN
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | sign);
}

/// Rounds to nearest, ties to even; a NaN stays one.
template <class T>
RUSHES_INLINE T from_float(float value);
template <>
RUSHES_INLINE float from_float<float>(float value) {
  return value;
}
template <>
RUSHES_INLINE c10::BFloat16 from_float<c10::BFloat16>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return c10::BFloat16(static_cast<uint16_t>(nan ? 0x7fc0u : rounded), c10::BFloat16::from_bits());
}
template <>
RUSHES_INLINE c10::Half from_float<c10::Half>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu, sign = (bits & 0x80000000u) >> 16;
  // Exponent from bias 127 to 15, rounding the 13 bits that go; below 2^-14 an addition lets the processor
  // round.
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x47800000u ? 0x7c00u : half;  // 65536 and more
  half = magnitude > 0x7f800000u ? 0x7e00u : half;   // NaN
  return c10::Half(static_cast<uint16_t>(half | sign), c10::Half::from_bits());
}

/// 2^x to 1 part in 10^7 for |x| <= 126, further out as at that limit; a NaN stays one.
RUSHES_INLINE float exp2_between_limits(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
  // The limits by whole numbers, which order floats of one sign as their values. A comparison of floats would
  // be a branch to the compiler, which then computes what uses this for x = 126 too, in all lanes: x * 2^-126
  // in a sigmoid's stead is subnormal, which costs some processors 200 cycles.
  const uint32_t low = std::min(std::bit_cast<uint32_t>(x), std::bit_cast<uint32_t>(-126.0f));
  const float t = std::bit_cast<float>(std::min(static_cast<int32_t>(low), std::bit_cast<int32_t>(126.0f)));
  const float shifted = t + kRound;
  const float f = t - (shifted - kRound);  // in [-0.5, 0.5]
  // The series of e^(f ln 2); what is left out is under 6e-9.
  float y = 1.5252734e-5f;
  y = y * f + 1.5403530e-4f;
  y = y * f + 1.3333558e-3f;
  y = y * f + 9.6181291e-3f;
  y = y * f + 5.5504109e-2f;
  y = y * f + 2.4022651e-1f;
  y = y * f + 6.9314718e-1f;
  y = y * f + 1.0f;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound)) << 23;
  const float power = std::bit_cast<float>(std::bit_cast<uint32_t>(y) + exponent);
  return x == x ? power : x;
}

/// x / (1 + e^-x); 0 below -87, where it is under 1e-36.
RUSHES_INLINE float silu(float x) {
  const float value = x / (1.0f + exp2_between_limits(x * -1.44269504f));
  return x < -87.0f ? x * 0.0f : value;
}

/// GELU's tanh formula (kernels/gelu/gelu.h); 0 below -10, where it is under 1e-36.
RUSHES_INLINE float gelu_tanh(float x) {
  const float u = x + 0.044715f * x * x * x;
  const float value = x / (1.0f + exp2_between_limits(u * -2.3022082f));  // 2 sqrt(2 / pi) / ln 2
  return x < -10.0f ? x * 0.0f : value;
}

constexpr int64_t kLanes = 64;  // four 16-float registers, so that adds do not wait for each other

#define RUSHES_LAMBDA __attribute__((always_inline))

/// value(0) + ... + value(count - 1), in kLanes partial sums: always the same order.
template <class Value>
RUSHES_INLINE float lane_sum(int64_t count, Value value) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j)
      lanes[j] += value(i + j);
  }
  for (int64_t j = 0; i + j < count; ++j)
    lanes[j] += value(i + j);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t j = 0; j < width; ++j)
      lanes[j] += lanes[j + width];
  }
  return lanes[0];
}

/// Rows that are worth a thread of their own.
inline int64_t rows_a_thread(int64_t dim) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, dim));
}

/// call(T()) with the number type T of a format.
template <class Call>
void with_type_of(NumberFormat format, const Call& call) {
  switch (format) {
    case NumberFormat::f32:
      return call(float());
    case NumberFormat::bf16:
      return call(c10::BFloat16());
    case NumberFormat::f16:
      return call(c10::Half());
  }
}

/// The instruction sets that the ops are compiled for, least first.
enum class CpuLevel { baseline, avx2, avx512 };

/// The best that this processor has; ATEN_CPU_CAPABILITY lowers it as it does for ATen.
CpuLevel cpu_level();

#if defined(__x86_64__)
#define RUSHES_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define RUSHES_TARGET_AVX512 \
  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#else
#define RUSHES_TARGET_AVX2
#define RUSHES_TARGET_AVX512
#endif

/// Runs `Body::run(args...)` (an always_inline static function) compiled for the best instruction set.
/// Multiplies and adds are not contracted, so the levels differ in speed only.
template <class Body, class... Args>
RUSHES_TARGET_AVX512 void run_avx512(Args... args) {
  Body::run(args...);
}
template <class Body, class... Args>
RUSHES_TARGET_AVX2 void run_avx2(Args... args) {
  Body::run(args...);
}
template <class Body, class... Args>
void run_best(CpuLevel level, Args... args) {
  switch (level) {
    case CpuLevel::avx512:
      return run_avx512<Body>(args...);
    case CpuLevel::avx2:
      return run_avx2<Body>(args...);
    case CpuLevel::baseline:
      return Body::run(args...);
  }
}

}  // namespace rushes
