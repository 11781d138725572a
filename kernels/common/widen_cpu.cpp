#include <bit>
#include <cstring>

#include "kernels/common/cpu.h"
#include "kernels/common/widen.h"

namespace rushes {
namespace {

struct WidenRows {
  RUSHES_INLINE static void run(const at::BFloat16* from, int64_t stride, int64_t rows, int64_t columns,
                                float* to) {
    for (int64_t row = 0; row < rows; ++row) {
#pragma GCC ivdep
      for (int64_t i = 0; i < columns; ++i)
        to[row * columns + i] = to_float(from[row * stride + i]);
    }
  }
};

struct WidenPairs {
  RUSHES_INLINE static void run(const at::BFloat16* from, int64_t stride, int64_t pairs, int64_t columns,
                                float* to) {
    for (int64_t pair = 0; pair < pairs; ++pair) {
      float* even = to + 2 * pair * stride;
      float* odd = even + stride;
#pragma GCC ivdep
      for (int64_t i = 0; i < columns; ++i) {
        uint32_t both;  // the even row's number in the lower half
        std::memcpy(&both, from + 2 * (pair * stride + i), sizeof both);
        even[i] = std::bit_cast<float>(both << 16);
        odd[i] = std::bit_cast<float>(both & 0xffff0000u);
      }
    }
  }
};

}  // namespace

void widen_rows(const at::BFloat16* from, int64_t stride, int64_t rows, int64_t columns, float* to) {
  run_best<WidenRows>(cpu_level(), from, stride, rows, columns, to);
}

void widen_pairs(const at::BFloat16* from, int64_t stride, int64_t pairs, int64_t columns, float* to) {
  run_best<WidenPairs>(cpu_level(), from, stride, pairs, columns, to);
}

}  // namespace rushes
