#pragma once
// Sums over a block's threads. For .cu files only.

#include <cstdint>

namespace rushes {

/// The sum of `value` over a warp, in each of its threads, by butterflies.
__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

/// The sum of `value` over the block (whole warps, at most 1,024 threads), in every thread: a warp by
/// butterflies, then the warps in order, so the same in any launch.
__device__ __forceinline__ float block_sum(float value) {
  __shared__ float of_warp[32];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) {
    sum += of_warp[warp];
  }
  __syncthreads();  // the next sum writes of_warp again
  return sum;
}

}  // namespace rushes
