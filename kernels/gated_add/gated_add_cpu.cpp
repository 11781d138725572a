// CPU half of gated_add: one pass, rows shared out over threads.

#include <ATen/Parallel.h>

#include "kernels/common/cpu.h"
#include "kernels/gated_add/gated_add_launch.h"

namespace rushes {
namespace {

template <class X>
struct AddRows {
  RUSHES_INLINE static void run(const GatedAddTask* task, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      X* x = static_cast<X*>(task->x) + row * task->x_stride;
      const X* y = static_cast<const X*>(task->y) + row * task->y_stride;
      const float* gate = vector_of(task->gate, row);
      // y may be x, element for element.
#pragma GCC ivdep
      for (int64_t i = 0; i < task->dim; ++i)
        x[i] = from_float<X>(to_float(x[i]) + to_float(y[i]) * gate[i]);
    }
  }
};

template <class X>
void run(const GatedAddTask& task) {
  const CpuLevel level = cpu_level();
  at::parallel_for(0, task.rows, rows_a_thread(task.dim),
                   [&](int64_t begin, int64_t end) { run_best<AddRows<X>>(level, &task, begin, end); });
}

}  // namespace

void gated_add_cpu(const GatedAddTask& task) {
  with_type_of(task.format, [&](auto x) { run<decltype(x)>(task); });
}

}  // namespace rushes
