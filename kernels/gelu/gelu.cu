// CUDA half of gelu, for sm_80 and up: one thread a pack of 16 bytes, read once and written once. Numbers
// that fill no pack, or that are not aligned, are taken one by one. No synchronisation with the host.

#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/vec128.cuh"
#include "kernels/gelu/gelu_launch.h"

namespace rushes {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float gelu_tanh(float x) {
  const float twice = 1.5957691216057308f * (x + 0.044715f * x * x * x);
  return x / (1.0f + expf(-twice));  // expf gives infinity far out, and x / infinity is the 0 wanted
}

template <class X, int kCount>
__global__ void __launch_bounds__(kThreads) gelu_tanh_kernel(X* x, int64_t packs) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < packs;
       i += int64_t{gridDim.x} * kThreads) {
    auto pack = load_pack<X, kCount>(x + i * kCount);
#pragma unroll
    for (int j = 0; j < kCount; ++j)
      pack.at[j] = from_float<X>(gelu_tanh(to_float(pack.at[j])));
    store_pack<X, kCount>(x + i * kCount, pack);
  }
}

template <class X, int kCount>
void launch(X* x, int64_t packs, cudaStream_t stream) {
  if (packs == 0) return;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((packs + kThreads - 1) / kThreads, 0x7fffffff));
  gelu_tanh_kernel<X, kCount><<<blocks, kThreads, 0, stream>>>(x, packs);
}

template <class X>
int launch_gelu_tanh(void* data, int64_t count, cudaStream_t stream) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(X));
  X* x = static_cast<X*>(data);
  const int64_t packs = aligned(static_cast<const X*>(x), 0, 16) ? count / kWide : 0;
  launch<X, kWide>(x, packs, stream);
  launch<X, 1>(x + packs * kWide, count - packs * kWide, stream);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace

int gelu_tanh_cuda(void* x, int64_t count, NumberFormat format, void* stream_pointer) {
  const auto stream = static_cast<cudaStream_t>(stream_pointer);
  switch (format) {
    case NumberFormat::f32:
      return launch_gelu_tanh<float>(x, count, stream);
    case NumberFormat::bf16:
      return launch_gelu_tanh<__nv_bfloat16>(x, count, stream);
    case NumberFormat::f16:
      return launch_gelu_tanh<__half>(x, count, stream);
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace rushes
