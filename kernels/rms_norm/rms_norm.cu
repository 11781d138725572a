// CUDA half of rms_norm, for sm_80 and up.
//
// One block a row, rows over the grid; a row that one warp holds (a VAE's: up to 1,024 16-bit numbers) has a
// warp to itself, eight to a block, so that the grid fills a multiprocessor. A row is read from memory once
// and written once where its threads can hold it in registers (up to kThreads * kHeldPacks packs of 16 bytes:
// 32,768 16-bit numbers); a longer row is read twice, the second time mostly out of L2. The weight is read by
// every block and stays in L2. Loads and stores are 16 bytes wide where pointers and strides allow it, single
// elements otherwise. No shared memory but the reduction's; no scratch memory; no synchronisation with the
// host.
//
// Sums: each thread adds its own squares in order, a warp by butterflies, the warps in order: the same for
// any grid.

#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/common/vec128.cuh"
#include "kernels/rms_norm/rms_norm_launch.h"

namespace rushes {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kHeldPacks = 8;  // packs a thread keeps between the two passes
constexpr int kWarpRows = 8;   // rows of a block where a warp has one each

// ---- CUDA kernels
// ------------------------------------------------------------------------------------------------

template <class X, int kCount>
__device__ __forceinline__ float squares(const Pack<X, kCount>& pack) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const float value = to_float(pack.at[j]);
    sum += value * value;
  }
  return sum;
}

__device__ __forceinline__ float silu(float x) {
  return x / (1.0f + expf(-x));  // expf gives infinity far out, and x / infinity is the 0 wanted
}

template <class X, class W, class Y, int kCount, bool kRoundFirst>
__device__ __forceinline__ void write_pack(const Pack<X, kCount>& x, const W* weight, Y* y, float factor,
                                           bool with_silu) {
  Pack<Y, kCount> out;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    out.at[j] = from_float<Y>(to_float(x.at[j]) * factor);
  }
  if (weight != nullptr) {
    const auto w = load_pack<W, kCount>(weight);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      float value = to_float(x.at[j]) * factor;
      if (kRoundFirst) value = to_float(from_float<W>(value));
      out.at[j] = from_float<Y>(value * to_float(w.at[j]));
    }
  }
  if (!kRoundFirst && with_silu) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      out.at[j] = from_float<Y>(silu(to_float(out.at[j])));
    }
  }
  store_pack<Y, kCount>(y, out);
}

// kCount numbers a load; kHeld packs a thread kept in registers, 0 where the row is too long for that.
// Threads: x within a row, y rows (more than one only where x is a warp).
template <class X, class W, class Y, int kCount, int kHeld, bool kRoundFirst>
__global__ void __launch_bounds__(kMaxThreads) rms_norm_kernel(RmsNormTask task) {
  const int64_t packs = task.dim / kCount;
  const W* weight = static_cast<const W*>(task.weight);
  const int64_t step = int64_t{gridDim.x} * blockDim.y;
  for (int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; row < task.rows; row += step) {
    const X* x = static_cast<const X*>(task.x) + row * task.x_stride;
    Y* y = static_cast<Y*>(task.y) + row * task.y_stride;

    // Squares.
    Pack<X, kCount> held[kHeld > 0 ? kHeld : 1];
    float sum = 0;
    if (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const int64_t p = threadIdx.x + int64_t{i} * blockDim.x;
        if (p < packs) {
          held[i] = load_pack<X, kCount>(x + p * kCount);
          sum += squares<X, kCount>(held[i]);
        }
      }
    } else {
      for (int64_t p = threadIdx.x; p < packs; p += blockDim.x) {
        sum += squares<X, kCount>(load_pack<X, kCount>(x + p * kCount));
      }
    }
    // Warps of a block may have a different number of rows: those that have their own do not wait for others.
    sum = blockDim.x == 32 ? warp_sum(sum) : block_sum(sum);
    const float mean = sum / static_cast<float>(task.dim);
    const float factor = 1.0f / sqrtf(mean + task.eps);

    // Scale and store.
    if (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const int64_t p = threadIdx.x + int64_t{i} * blockDim.x;
        if (p < packs) {
          write_pack<X, W, Y, kCount, kRoundFirst>(held[i], weight ? weight + p * kCount : nullptr,
                                                   y + p * kCount, factor, task.silu);
        }
      }
    } else {
      for (int64_t p = threadIdx.x; p < packs; p += blockDim.x) {
        write_pack<X, W, Y, kCount, kRoundFirst>(load_pack<X, kCount>(x + p * kCount),
                                                 weight ? weight + p * kCount : nullptr, y + p * kCount,
                                                 factor, task.silu);
      }
    }
  }
}

// ---- kernel launchers
// --------------------------------------------------------------------------------------------

template <class X, class W, class Y, int kCount, bool kRoundFirst>
void launch(const RmsNormTask& task, cudaStream_t stream) {
  const int64_t packs = task.dim / kCount;
  // Threads enough for four packs each, in whole warps; a grid of at most what the hardware counts in x.
  const int64_t wanted = (packs + 4 * 32 - 1) / (4 * 32) * 32;
  const int threads = static_cast<int>(std::clamp<int64_t>(wanted, 32, kMaxThreads));
  const dim3 block(static_cast<unsigned>(threads), threads == 32 ? kWarpRows : 1);
  const auto blocks =
      static_cast<unsigned>(std::min<int64_t>((task.rows + block.y - 1) / block.y, 0x7fffffff));
  const int64_t per_thread = (packs + threads - 1) / threads;
  if (per_thread <= 4) {
    rms_norm_kernel<X, W, Y, kCount, 4, kRoundFirst><<<blocks, block, 0, stream>>>(task);
  } else if (per_thread <= kHeldPacks) {
    rms_norm_kernel<X, W, Y, kCount, kHeldPacks, kRoundFirst><<<blocks, block, 0, stream>>>(task);
  } else {
    rms_norm_kernel<X, W, Y, kCount, 0, kRoundFirst><<<blocks, block, 0, stream>>>(task);
  }
}

// One format's kernel: X, W and Y, wide where everything is aligned.
template <class X, class W, class Y, bool kRoundFirst>
int launch_rms_norm(const RmsNormTask& task, cudaStream_t stream) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(X) > sizeof(Y) ? sizeof(X) : sizeof(Y));
  const bool wide = task.dim % kWide == 0 &&
                    aligned(static_cast<const X*>(task.x), task.x_stride, sizeof(Pack<X, kWide>)) &&
                    aligned(static_cast<const W*>(task.weight), 0, alignof(Pack<W, kWide>)) &&
                    aligned(static_cast<const Y*>(task.y), task.y_stride, sizeof(Pack<Y, kWide>));
  if (wide) {
    launch<X, W, Y, kWide, kRoundFirst>(task, stream);
  } else {
    launch<X, W, Y, 1, kRoundFirst>(task, stream);
  }
  return static_cast<int>(cudaGetLastError());
}

// torch.nn.RMSNorm's result has x's format, T5LayerNorm's the weight's (x's, where there is no weight).
template <class X, class W>
int launch_order(const RmsNormTask& task, cudaStream_t stream) {
  if (!task.round_before_weight) return launch_rms_norm<X, W, X, false>(task, stream);
  if (task.weight == nullptr) return launch_rms_norm<X, X, X, true>(task, stream);
  return launch_rms_norm<X, W, W, true>(task, stream);
}

// The formats there are.
template int launch_order<float, float>(const RmsNormTask&, cudaStream_t);
template int launch_order<float, __nv_bfloat16>(const RmsNormTask&, cudaStream_t);
template int launch_order<float, __half>(const RmsNormTask&, cudaStream_t);
template int launch_order<__nv_bfloat16, __nv_bfloat16>(const RmsNormTask&, cudaStream_t);
template int launch_order<__nv_bfloat16, float>(const RmsNormTask&, cudaStream_t);
template int launch_order<__half, __half>(const RmsNormTask&, cudaStream_t);
template int launch_order<__half, float>(const RmsNormTask&, cudaStream_t);

}  // namespace

int rms_norm_cuda(const RmsNormTask& task, void* stream_pointer) {
  const auto stream = static_cast<cudaStream_t>(stream_pointer);
  const NumberFormat weight = task.weight_format;
  switch (task.x_format) {
    case NumberFormat::f32:
      if (weight == NumberFormat::bf16) return launch_order<float, __nv_bfloat16>(task, stream);
      if (weight == NumberFormat::f16) return launch_order<float, __half>(task, stream);
      return launch_order<float, float>(task, stream);
    case NumberFormat::bf16:
      if (weight == NumberFormat::f32) return launch_order<__nv_bfloat16, float>(task, stream);
      return launch_order<__nv_bfloat16, __nv_bfloat16>(task, stream);
    case NumberFormat::f16:
      if (weight == NumberFormat::f32) return launch_order<__half, float>(task, stream);
      return launch_order<__half, __half>(task, stream);
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace rushes
