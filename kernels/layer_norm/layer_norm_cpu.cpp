// CPU half of layer_norm. A row is read three times (twice out of the cache) and written once; rows are
// shared out over threads, never split. The variance is of differences from the mean, so that large means
// cost no digits.

#include <ATen/Parallel.h>

#include <cmath>

#include "kernels/common/cpu.h"
#include "kernels/layer_norm/layer_norm_launch.h"

namespace rushes {
namespace {

template <class X>
struct NormRows {
  RUSHES_INLINE static void run(const LayerNormTask* task, int64_t begin, int64_t end) {
    const int64_t dim = task->dim;
    const float count = static_cast<float>(dim), one = task->factor_offset;
    for (int64_t row = begin; row < end; ++row) {
      const X* x = static_cast<const X*>(task->x) + row * task->x_stride;
      X* y = static_cast<X*>(task->y) + row * dim;
      const float mean = lane_sum(dim, [=](int64_t i) RUSHES_LAMBDA { return to_float(x[i]); }) / count;
      const float squares = lane_sum(dim, [=](int64_t i) RUSHES_LAMBDA {
        const float far = to_float(x[i]) - mean;
        return far * far;
      });
      const float rate = 1.0f / std::sqrt(squares / count + task->eps);
      if (task->factor.data == nullptr) {
#pragma GCC ivdep
        for (int64_t i = 0; i < dim; ++i)
          y[i] = from_float<X>((to_float(x[i]) - mean) * rate);
        continue;
      }
      const float* factor = vector_of(task->factor, row);
      const float* offset = vector_of(task->offset, row);
#pragma GCC ivdep
      for (int64_t i = 0; i < dim; ++i) {
        const float norm = (to_float(x[i]) - mean) * rate;
        y[i] = from_float<X>(norm * (factor[i] + one) + offset[i]);
      }
    }
  }
};

template <class X>
void run(const LayerNormTask& task) {
  const CpuLevel level = cpu_level();
  at::parallel_for(0, task.rows, rows_a_thread(task.dim),
                   [&](int64_t begin, int64_t end) { run_best<NormRows<X>>(level, &task, begin, end); });
}

}  // namespace

void layer_norm_cpu(const LayerNormTask& task) {
  with_type_of(task.format, [&](auto x) { run<decltype(x)>(task); });
}

}  // namespace rushes
