// CPU half of gelu: pieces of 4,096 numbers shared out over threads.

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/common/cpu.h"
#include "kernels/common/tiles.h"
#include "kernels/gelu/gelu_launch.h"

namespace rushes {
namespace {

constexpr int64_t kPiece = 4096;

template <class X>
struct GeluPiece {
  RUSHES_INLINE static void run(X* x, int64_t count) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i)
      x[i] = from_float<X>(gelu_tanh(to_float(x[i])));
  }
};

template <class X>
void run(void* data, int64_t count) {
  X* x = static_cast<X*>(data);
  const CpuLevel level = cpu_level();
  at::parallel_for(0, pieces(count, kPiece), 4, [&](int64_t begin, int64_t end) {
    run_best<GeluPiece<X>>(level, x + begin * kPiece, std::min(count, end * kPiece) - begin * kPiece);
  });
}

}  // namespace

void gelu_tanh_cpu(void* x, int64_t count, NumberFormat format) {
  with_type_of(format, [&](auto number) { run<decltype(number)>(x, count); });
}

}  // namespace rushes
