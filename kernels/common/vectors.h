#pragma once
// Numbers side by side in a register, for the few places where a compiler does not get there from loops:
// sums and maxima that stay in registers, exponentials of many numbers in step, a transposition. To be
// included by *_cpu.cpp only, and passed by reference: by value they are another ABI on every instruction
// set.

#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/common/cpu.h"

namespace rushes {

/// 16 float32 where a register holds them (AVX-512), 4 everywhere else: on AVX2 too, where GCC 12 works on 8
/// one by one.
template <int width>
struct VectorOf;
template <>
struct VectorOf<4> {
  using Numbers = float __attribute__((vector_size(16)));
  using Bits = uint32_t __attribute__((vector_size(16)));
};
template <>
struct VectorOf<16> {
  using Numbers = float __attribute__((vector_size(64)));
  using Bits = uint32_t __attribute__((vector_size(64)));
};
template <int width>
using Numbers = typename VectorOf<width>::Numbers;

/// run_best() for a body that is told how many numbers to take at a time: Body<16> or Body<4>.
template <template <int> class Body, class... Args>
void run_widest(CpuLevel level, Args... args) {
  switch (level) {
    case CpuLevel::avx512:
      return run_avx512<Body<16>>(args...);
    case CpuLevel::avx2:
      return run_avx2<Body<4>>(args...);
    case CpuLevel::baseline:
      return Body<4>::run(args...);
  }
}

template <class V>
RUSHES_INLINE void load(const void* from, V& to) {
  std::memcpy(&to, from, sizeof to);
}
template <class V>
RUSHES_INLINE void store(const V& from, float* to) {
  std::memcpy(to, &from, sizeof from);
}
template <class V>
RUSHES_INLINE void store(const V& from, c10::BFloat16* to) {
  constexpr int kWidth = sizeof(V) / 4;
  float numbers[kWidth];
  std::memcpy(numbers, &from, sizeof from);
  for (int j = 0; j < kWidth; ++j)
    to[j] = from_float<c10::BFloat16>(numbers[j]);
}

/// The greater one, number by number; `b` where a or b is a NaN.
template <class V>
RUSHES_INLINE void greater_of(const V& a, const V& b, V& to) {
  to = a > b ? a : b;
}

template <int step, class V, size_t... e>
RUSHES_INLINE void fold_greatest(V& x, std::index_sequence<e...>) {
  const V other = __builtin_shufflevector(x, x, (e ^ step)...);
  greater_of(other, x, x);
}
/// The greatest of x, which holds no NaN.
template <int width>
RUSHES_INLINE float greatest(const Numbers<width>& numbers) {
  constexpr auto kAll = std::make_index_sequence<width>();
  Numbers<width> x = numbers;
  if constexpr (width == 16) {
    fold_greatest<8>(x, kAll);
    fold_greatest<4>(x, kAll);
  }
  fold_greatest<2>(x, kAll);
  fold_greatest<1>(x, kAll);
  return x[0];
}

/// 2^x over x [count], to 1 part in 10^7 for x from -126 to 0; a NaN stays one. Every step is one for all of
/// them: a number's own twenty wait for each other. The same bits for any width.
template <int width, int count>
RUSHES_INLINE void exp2_of_negative(Numbers<width> (&x)[count]) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
  constexpr uint32_t kZero = std::bit_cast<uint32_t>(kRound) - 127;
  // Of 2^f over [-0.5, 0.5], with 1 at 0 and the least relative error: 2e-9.
  constexpr float kSeries[] = {1.3398874e-3f, 9.6184374e-3f, 5.5503325e-2f,
                               2.4022648e-1f, 6.9314720e-1f, 1.0f};
  Numbers<width> whole[count], y[count];
  for (int i = 0; i < count; ++i)
    whole[i] = x[i] + kRound;
  for (int i = 0; i < count; ++i)
    x[i] -= whole[i] - kRound;
  for (int i = 0; i < count; ++i)
    y[i] = 1.5353362e-4f * x[i] + kSeries[0];
#pragma GCC unroll 8
  for (int term = 1; term < 6; ++term) {
    for (int i = 0; i < count; ++i)
      y[i] = y[i] * x[i] + kSeries[term];
  }
  for (int i = 0; i < count; ++i) {
    typename VectorOf<width>::Bits power;
    load(&whole[i], power);
    power = (power - kZero) << 23;
    load(&power, whole[i]);
    x[i] = y[i] * whole[i];
  }
}

/// The new a's element e is b's from `step` before where e has that bit; the new b's is a's from `step`
/// behind where it has not.
template <int step, class V, size_t... e>
RUSHES_INLINE void trade(V& a, V& b, std::index_sequence<e...>) {
  constexpr size_t kWidth = sizeof...(e);
  const V first = __builtin_shufflevector(a, b, ((e & step) != 0 ? kWidth + e - step : e)...);
  b = __builtin_shufflevector(a, b, ((e & step) != 0 ? kWidth + e : e + step)...);
  a = first;
}
template <int step, int width>
RUSHES_INLINE void trade_all(Numbers<width> (&rows)[width]) {
#pragma GCC unroll 16
  for (int i = 0; i < width; ++i) {
    if ((i & step) == 0) trade<step>(rows[i], rows[i + step], std::make_index_sequence<width>());
  }
}
/// Rows become columns.
template <int width>
RUSHES_INLINE void transpose(Numbers<width> (&rows)[width]) {
  if constexpr (width == 16) {
    trade_all<8, width>(rows);
    trade_all<4, width>(rows);
  }
  trade_all<2, width>(rows);
  trade_all<1, width>(rows);
}

}  // namespace rushes
