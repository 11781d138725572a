#pragma once
// Between the checks (rotary.cpp) and the two machines: plain pointers and sizes, no torch.

#include <cstdint>

#include "device/cuda_part.h"
#include "kernels/common/number_format.h"

namespace rushes {

/// Strides in elements; a head's `dim` elements lie side by side. y may be x with the same strides. cos and
/// sin are packed [tokens, dim / 2].
struct RotaryTask {
  const void* x;
  void* y;
  const float* cos;
  const float* sin;
  int64_t batch, tokens, heads, dim;
  int64_t x_batch, x_token, x_head;
  int64_t y_batch, y_token, y_head;
  NumberFormat format;
};

void rotary_cpu(const RotaryTask& task);

/// Queues the kernel on `stream` (a cudaStream_t). Returns cudaGetLastError's number: 0 is success.
RUSHES_CUDA_PART int rotary_cuda(const RotaryTask& task, void* stream);

}  // namespace rushes
