// CPU half of rms_norm. A row is read twice (the second time out of the cache) and written once; rows are
// shared out over threads, never split, and summed in a fixed order (lane_sum).

#include <ATen/Parallel.h>

#include <cmath>
#include <type_traits>

#include "kernels/common/cpu.h"
#include "kernels/rms_norm/rms_norm_launch.h"

namespace rushes {
namespace {

// kSilu: of the rounded number, rounded again. (As `? :` over 16-bit classes it would not be vectorised.)
template <class Y, bool kSilu>
RUSHES_INLINE Y result(float value) {
  if constexpr (kSilu) value = silu(to_float(from_float<Y>(value)));
  return from_float<Y>(value);
}

// X: input, W: weight, Y: output; kRoundFirst: RmsNormRounding::before_weight; kSilu: see RmsNormTask.
template <class X, class W, class Y, bool kRoundFirst, bool kSilu = false>
struct NormRows {
  RUSHES_INLINE static void run(const RmsNormTask* task, int64_t begin, int64_t end) {
    const auto* weight = static_cast<const W*>(task->weight);
    for (int64_t row = begin; row < end; ++row) {
      const X* x = static_cast<const X*>(task->x) + row * task->x_stride;
      Y* y = static_cast<Y*>(task->y) + row * task->y_stride;
      const float squares = lane_sum(task->dim, [=](int64_t i) RUSHES_LAMBDA {
        const float value = to_float(x[i]);
        return value * value;
      });
      const float mean = squares / static_cast<float>(task->dim);
      const float factor = 1.0f / std::sqrt(mean + task->eps);
      // y may be x, element for element, which hinders no vector code.
      if (weight == nullptr) {
#pragma GCC ivdep
        for (int64_t i = 0; i < task->dim; ++i) {
          y[i] = result<Y, kSilu>(to_float(x[i]) * factor);
        }
      } else {
#pragma GCC ivdep
        for (int64_t i = 0; i < task->dim; ++i) {
          float value = to_float(x[i]) * factor;
          if constexpr (kRoundFirst) value = to_float(from_float<W>(value));
          y[i] = result<Y, kSilu>(value * to_float(weight[i]));
        }
      }
    }
  }
};

template <class X, class W>
void run(const RmsNormTask& task) {
  const CpuLevel level = cpu_level();
  at::parallel_for(0, task.rows, rows_a_thread(task.dim), [&](int64_t begin, int64_t end) {
    if (task.silu) {
      run_best<NormRows<X, W, X, false, true>>(level, &task, begin, end);
    } else if (!task.round_before_weight) {
      run_best<NormRows<X, W, X, false>>(level, &task, begin, end);
    } else if (task.weight == nullptr) {
      run_best<NormRows<X, W, X, true>>(level, &task, begin, end);
    } else {
      run_best<NormRows<X, W, W, true>>(level, &task, begin, end);
    }
  });
}

template <class X>
void run_with_weight(const RmsNormTask& task) {
  if (task.weight_format == task.x_format) return run<X, X>(task);
  if constexpr (std::is_same_v<X, float>) {
    return task.weight_format == NumberFormat::bf16 ? run<X, c10::BFloat16>(task) : run<X, c10::Half>(task);
  } else {
    return run<X, float>(task);
  }
}

}  // namespace

void rms_norm_cpu(const RmsNormTask& task) {
  with_type_of(task.x_format, [&](auto x) { run_with_weight<decltype(x)>(task); });
}

}  // namespace rushes
