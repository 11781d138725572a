#pragma once
// Between the checks (rms_norm.cpp) and the two machines: plain pointers and sizes, no torch.

#include <cstdint>

#include "device/cuda_part.h"
#include "kernels/common/number_format.h"

namespace rushes {

/// Row r of x starts at x + r * x_stride elements, of y at y + r * y_stride; `dim` elements lie together. y
/// may be x. `weight` has `dim` elements, or is null.
struct RmsNormTask {
  const void* x;
  const void* weight;
  void* y;
  int64_t rows, dim, x_stride, y_stride;
  float eps;
  NumberFormat x_format, weight_format;
  bool round_before_weight;
  bool silu;  // of the rounded result, rounded again; not with round_before_weight
};

void rms_norm_cpu(const RmsNormTask& task);

/// Queues the kernel on `stream` (a cudaStream_t). Returns cudaGetLastError's number: 0 is success.
RUSHES_CUDA_PART int rms_norm_cuda(const RmsNormTask& task, void* stream);

}  // namespace rushes
