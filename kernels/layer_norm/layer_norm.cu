// CUDA half of layer_norm, for sm_80 and up.
//
// One block a row, rows over the grid, as in rms_norm.cu: a row is read from memory once and written once
// where a block can hold it in registers, and read again out of L2 where not. Factors and offsets are shared
// by many rows and stay in L2. Loads and stores are 16 bytes wide where pointers and strides allow it. No
// scratch memory; no synchronisation with the host.

#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/common/vec128.cuh"
#include "kernels/layer_norm/layer_norm_launch.h"

namespace rushes {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kHeldPacks = 8;  // packs a thread keeps between the passes

// ---- CUDA kernels
// ------------------------------------------------------------------------------------------------

// What a pass over a row does with each pack: from registers, or read again.
template <class X, int kCount, int kHeld, class Each>
__device__ __forceinline__ void each_pack(const X* x, int64_t packs, Pack<X, kCount>* held, bool first,
                                          Each each) {
  if (kHeld > 0) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int64_t p = threadIdx.x + int64_t{i} * blockDim.x;
      if (p < packs) {
        if (first) held[i] = load_pack<X, kCount>(x + p * kCount);
        each(held[i], p);
      }
    }
  } else {
    for (int64_t p = threadIdx.x; p < packs; p += blockDim.x) {
      each(load_pack<X, kCount>(x + p * kCount), p);
    }
  }
}

// kCount numbers a load; kHeld packs a thread kept in registers, 0 where the row is too long for that.
template <class X, int kCount, int kHeld>
__global__ void __launch_bounds__(kMaxThreads) layer_norm_kernel(LayerNormTask task) {
  const int64_t packs = task.dim / kCount;
  const float count = static_cast<float>(task.dim);
  for (int64_t row = blockIdx.x; row < task.rows; row += gridDim.x) {
    const X* x = static_cast<const X*>(task.x) + row * task.x_stride;
    X* y = static_cast<X*>(task.y) + row * task.dim;
    Pack<X, kCount> held[kHeld > 0 ? kHeld : 1];

    // Mean.
    float sum = 0;
    each_pack<X, kCount, kHeld>(x, packs, held, true, [&](const Pack<X, kCount>& pack, int64_t) {
#pragma unroll
      for (int j = 0; j < kCount; ++j)
        sum += to_float(pack.at[j]);
    });
    const float mean = block_sum(sum) / count;

    // Variance.
    float squares = 0;
    each_pack<X, kCount, kHeld>(x, packs, held, false, [&](const Pack<X, kCount>& pack, int64_t) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        const float far = to_float(pack.at[j]) - mean;
        squares += far * far;
      }
    });
    const float rate = 1.0f / sqrtf(block_sum(squares) / count + task.eps);

    // Scale, shift and store.
    const bool plain = task.factor.data == nullptr;
    const float* factor = plain ? nullptr : vector_of(task.factor, row);
    const float* offset = plain ? nullptr : vector_of(task.offset, row);
    each_pack<X, kCount, kHeld>(x, packs, held, false, [&](const Pack<X, kCount>& pack, int64_t p) {
      Pack<X, kCount> out;
      if (plain) {
#pragma unroll
        for (int j = 0; j < kCount; ++j)
          out.at[j] = from_float<X>((to_float(pack.at[j]) - mean) * rate);
      } else {
        const auto f = load_pack<float, kCount>(factor + p * kCount);
        const auto o = load_pack<float, kCount>(offset + p * kCount);
#pragma unroll
        for (int j = 0; j < kCount; ++j) {
          const float norm = (to_float(pack.at[j]) - mean) * rate;
          out.at[j] = from_float<X>(norm * (f.at[j] + task.factor_offset) + o.at[j]);
        }
      }
      store_pack<X, kCount>(y + p * kCount, out);
    });
  }
}

// ---- kernel launchers
// --------------------------------------------------------------------------------------------

template <class X, int kCount>
void launch(const LayerNormTask& task, cudaStream_t stream) {
  const int64_t packs = task.dim / kCount;
  // Threads enough for four packs each, in whole warps; a grid of at most what the hardware counts in x.
  const int64_t wanted = (packs + 4 * 32 - 1) / (4 * 32) * 32;
  const int threads = static_cast<int>(std::clamp<int64_t>(wanted, 32, kMaxThreads));
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(task.rows, 0x7fffffff));
  const int64_t per_thread = (packs + threads - 1) / threads;
  if (per_thread <= 4) {
    layer_norm_kernel<X, kCount, 4><<<blocks, threads, 0, stream>>>(task);
  } else if (per_thread <= kHeldPacks) {
    layer_norm_kernel<X, kCount, kHeldPacks><<<blocks, threads, 0, stream>>>(task);
  } else {
    layer_norm_kernel<X, kCount, 0><<<blocks, threads, 0, stream>>>(task);
  }
}

template <class X>
int launch_layer_norm(const LayerNormTask& task, cudaStream_t stream) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(X));
  const bool wide = task.dim % kWide == 0 && aligned(static_cast<const X*>(task.x), task.x_stride, 16) &&
                    aligned(static_cast<const X*>(task.y), task.dim, 16) &&
                    aligned(task.factor.data, task.factor.stride, 16) &&
                    aligned(task.offset.data, task.offset.stride, 16);
  if (wide) {
    launch<X, kWide>(task, stream);
  } else {
    launch<X, 1>(task, stream);
  }
  return static_cast<int>(cudaGetLastError());
}

}  // namespace

int layer_norm_cuda(const LayerNormTask& task, void* stream_pointer) {
  const auto stream = static_cast<cudaStream_t>(stream_pointer);
  switch (task.format) {
    case NumberFormat::f32:
      return launch_layer_norm<float>(task, stream);
    case NumberFormat::bf16:
      return launch_layer_norm<__nv_bfloat16>(task, stream);
    case NumberFormat::f16:
      return launch_layer_norm<__half>(task, stream);
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace rushes
