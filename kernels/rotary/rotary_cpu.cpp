// CPU half of rotary. Tokens are shared out over threads; a token's cosines and sines are spread to one
// factor an element once and used for all its heads: y = x * along + swapped(x) * across.

#include <ATen/Parallel.h>

#include <vector>

#include "kernels/common/cpu.h"
#include "kernels/rotary/rotary_launch.h"

namespace rushes {
namespace {

template <class T>
struct Tokens {
  RUSHES_INLINE static void run(const RotaryTask* task, float* factors, int64_t begin, int64_t end) {
    const int64_t dim = task->dim, half = dim / 2;
    float* along = factors;
    float* across = factors + dim;
    for (int64_t token = begin; token < end; ++token) {
      for (int64_t i = 0; i < half; ++i) {
        const float cosine = task->cos[token * half + i], sine = task->sin[token * half + i];
        along[2 * i] = cosine;
        along[2 * i + 1] = cosine;
        across[2 * i] = -sine;
        across[2 * i + 1] = sine;
      }
      for (int64_t b = 0; b < task->batch; ++b) {
        for (int64_t h = 0; h < task->heads; ++h) {
          const T* x =
              static_cast<const T*>(task->x) + b * task->x_batch + token * task->x_token + h * task->x_head;
          T* y = static_cast<T*>(task->y) + b * task->y_batch + token * task->y_token + h * task->y_head;
          // y may be x, pair for pair, which hinders no vector code.
#pragma GCC ivdep
          for (int64_t i = 0; i < half; ++i) {
            const float first = to_float(x[2 * i]), second = to_float(x[2 * i + 1]);
            y[2 * i] = from_float<T>(first * along[2 * i] + second * across[2 * i]);
            y[2 * i + 1] = from_float<T>(second * along[2 * i + 1] + first * across[2 * i + 1]);
          }
        }
      }
    }
  }
};

template <class T>
void run(const RotaryTask& task) {
  const CpuLevel level = cpu_level();
  const int64_t numbers_a_token = task.batch * task.heads * task.dim;
  at::parallel_for(0, task.tokens, rows_a_thread(numbers_a_token), [&](int64_t begin, int64_t end) {
    std::vector<float> factors(static_cast<size_t>(2 * task.dim));
    run_best<Tokens<T>>(level, &task, factors.data(), begin, end);
  });
}

}  // namespace

void rotary_cpu(const RotaryTask& task) {
  with_type_of(task.format, [&](auto x) { run<decltype(x)>(task); });
}

}  // namespace rushes
