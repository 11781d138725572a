// CUDA half of rotary, for sm_80 and up.
//
// One thread a pack of 16 bytes (8 16-bit numbers or 4 float32) of one head; x is read once and written once,
// each token's cosines and sines once a head, out of L1/L2 after the first. Packs shrink to one pair where
// pointers, strides or an odd number of pairs ask for it. No shared memory, no scratch memory, no
// synchronisation with the host. In place is safe: a thread writes only what it alone has read.

#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/vec128.cuh"
#include "kernels/rotary/rotary_launch.h"

namespace rushes {
namespace {

constexpr int kThreads = 256;

// ---- CUDA kernels
// ------------------------------------------------------------------------------------------------

// kPairs pairs of numbers a thread.
template <class T, int kPairs>
__global__ void __launch_bounds__(kThreads) rotary_kernel(RotaryTask task) {
  const int64_t half = task.dim / 2;
  const int64_t packs_a_head = half / kPairs;
  const int64_t total = task.batch * task.tokens * task.heads * packs_a_head;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < total;
       i += int64_t{gridDim.x} * kThreads) {
    // Which pack: the last dim runs fastest, so that neighbours read neighbours.
    const int64_t pack = i % packs_a_head;
    const int64_t head = i / packs_a_head % task.heads;
    const int64_t row = i / packs_a_head / task.heads;
    const int64_t token = row % task.tokens, batch = row / task.tokens;
    const T* x = static_cast<const T*>(task.x) + batch * task.x_batch + token * task.x_token +
                 head * task.x_head + pack * 2 * kPairs;
    T* y = static_cast<T*>(task.y) + batch * task.y_batch + token * task.y_token + head * task.y_head +
           pack * 2 * kPairs;

    const auto values = load_pack<T, 2 * kPairs>(x);
    const auto cosine = load_pack<float, kPairs>(task.cos + token * half + pack * kPairs);
    const auto sine = load_pack<float, kPairs>(task.sin + token * half + pack * kPairs);
    Pack<T, 2 * kPairs> out;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const float first = to_float(values.at[2 * j]), second = to_float(values.at[2 * j + 1]);
      out.at[2 * j] = from_float<T>(first * cosine.at[j] - second * sine.at[j]);
      out.at[2 * j + 1] = from_float<T>(first * sine.at[j] + second * cosine.at[j]);
    }
    store_pack<T, 2 * kPairs>(y, out);
  }
}

// ---- kernel launchers
// --------------------------------------------------------------------------------------------

template <class T, int kPairs>
void launch(const RotaryTask& task, cudaStream_t stream) {
  const int64_t total = task.batch * task.tokens * task.heads * (task.dim / 2 / kPairs);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((total + kThreads - 1) / kThreads, 0x7fffffff));
  rotary_kernel<T, kPairs><<<blocks, kThreads, 0, stream>>>(task);
}

// Can every pack of kPairs pairs be read and written at once?
template <class T, int kPairs>
bool fits(const RotaryTask& task) {
  constexpr int kBytes = alignof(Pack<T, 2 * kPairs>), kTableBytes = alignof(Pack<float, kPairs>);
  bool fits =
      task.dim % (2 * kPairs) == 0 && aligned(task.cos, 0, kTableBytes) && aligned(task.sin, 0, kTableBytes);
  for (const int64_t stride : {task.x_batch, task.x_token, task.x_head}) {
    fits = fits && aligned(static_cast<const T*>(task.x), stride, kBytes);
  }
  for (const int64_t stride : {task.y_batch, task.y_token, task.y_head}) {
    fits = fits && aligned(static_cast<const T*>(task.y), stride, kBytes);
  }
  return fits;
}

// A pair that is not aligned to its own size (an odd offset) is moved number by number.
template <class T>
__global__ void __launch_bounds__(kThreads) rotary_unaligned_kernel(RotaryTask task) {
  const int64_t half = task.dim / 2;
  const int64_t total = task.batch * task.tokens * task.heads * half;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < total;
       i += int64_t{gridDim.x} * kThreads) {
    const int64_t pair = i % half, head = i / half % task.heads, row = i / half / task.heads;
    const int64_t token = row % task.tokens, batch = row / task.tokens;
    const T* x =
        static_cast<const T*>(task.x) + batch * task.x_batch + token * task.x_token + head * task.x_head;
    T* y = static_cast<T*>(task.y) + batch * task.y_batch + token * task.y_token + head * task.y_head;
    const float first = to_float(x[2 * pair]), second = to_float(x[2 * pair + 1]);
    const float cosine = task.cos[token * half + pair], sine = task.sin[token * half + pair];
    y[2 * pair] = from_float<T>(first * cosine - second * sine);
    y[2 * pair + 1] = from_float<T>(first * sine + second * cosine);
  }
}

template <class T>
int launch_rotary(const RotaryTask& task, cudaStream_t stream) {
  constexpr int kPairs = 16 / (2 * static_cast<int>(sizeof(T)));
  if (fits<T, kPairs>(task)) {
    launch<T, kPairs>(task, stream);
  } else if (fits<T, 1>(task)) {
    launch<T, 1>(task, stream);
  } else {
    const int64_t total = task.batch * task.tokens * task.heads * (task.dim / 2);
    const auto blocks =
        static_cast<unsigned>(std::min<int64_t>((total + kThreads - 1) / kThreads, 0x7fffffff));
    rotary_unaligned_kernel<T><<<blocks, kThreads, 0, stream>>>(task);
  }
  return static_cast<int>(cudaGetLastError());
}

// The formats there are.
template int launch_rotary<float>(const RotaryTask&, cudaStream_t);
template int launch_rotary<__nv_bfloat16>(const RotaryTask&, cudaStream_t);
template int launch_rotary<__half>(const RotaryTask&, cudaStream_t);

}  // namespace

int rotary_cuda(const RotaryTask& task, void* stream_pointer) {
  const auto stream = static_cast<cudaStream_t>(stream_pointer);
  switch (task.format) {
    case NumberFormat::f32:
      return launch_rotary<float>(task, stream);
    case NumberFormat::bf16:
      return launch_rotary<__nv_bfloat16>(task, stream);
    case NumberFormat::f16:
      return launch_rotary<__half>(task, stream);
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace rushes
