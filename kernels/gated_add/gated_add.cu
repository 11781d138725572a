// CUDA half of gated_add, for sm_80 and up: one thread a pack of 16 bytes; x and y are read once, x is
// written once, gates come out of L2. Packs shrink to one number where pointers or strides ask for it. No
// scratch memory; no synchronisation with the host.

#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/vec128.cuh"
#include "kernels/gated_add/gated_add_launch.h"

namespace rushes {
namespace {

constexpr int kThreads = 256;

template <class X, int kCount>
__global__ void __launch_bounds__(kThreads) gated_add_kernel(GatedAddTask task) {
  const int64_t packs = task.dim / kCount, total = task.rows * packs;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < total;
       i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / packs, column = i % packs * kCount;
    X* x = static_cast<X*>(task.x) + row * task.x_stride + column;
    auto sum = load_pack<X, kCount>(x);
    const auto y = load_pack<X, kCount>(static_cast<const X*>(task.y) + row * task.y_stride + column);
    const auto gate = load_pack<float, kCount>(vector_of(task.gate, row) + column);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      sum.at[j] = from_float<X>(to_float(sum.at[j]) + to_float(y.at[j]) * gate.at[j]);
    }
    store_pack<X, kCount>(x, sum);
  }
}

template <class X, int kCount>
void launch(const GatedAddTask& task, cudaStream_t stream) {
  const int64_t total = task.rows * (task.dim / kCount);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((total + kThreads - 1) / kThreads, 0x7fffffff));
  gated_add_kernel<X, kCount><<<blocks, kThreads, 0, stream>>>(task);
}

template <class X>
int launch_gated_add(const GatedAddTask& task, cudaStream_t stream) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(X));
  const bool wide = task.dim % kWide == 0 && aligned(static_cast<const X*>(task.x), task.x_stride, 16) &&
                    aligned(static_cast<const X*>(task.y), task.y_stride, 16) &&
                    aligned(task.gate.data, task.gate.stride, 16);
  if (wide) {
    launch<X, kWide>(task, stream);
  } else {
    launch<X, 1>(task, stream);
  }
  return static_cast<int>(cudaGetLastError());
}

}  // namespace

int gated_add_cuda(const GatedAddTask& task, void* stream_pointer) {
  const auto stream = static_cast<cudaStream_t>(stream_pointer);
  switch (task.format) {
    case NumberFormat::f32:
      return launch_gated_add<float>(task, stream);
    case NumberFormat::bf16:
      return launch_gated_add<__nv_bfloat16>(task, stream);
    case NumberFormat::f16:
      return launch_gated_add<__half>(task, stream);
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace rushes
