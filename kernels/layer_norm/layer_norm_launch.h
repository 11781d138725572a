#pragma once
// Between the checks (layer_norm.cpp) and the two machines: plain pointers and sizes, no torch.

#include <cstdint>

#include "device/cuda_part.h"
#include "kernels/common/number_format.h"
#include "kernels/common/row_vectors_view.h"

namespace rushes {

/// Row r of x starts at x + r * x_stride elements; y is packed. y = norm(x) * (factor + factor_offset) +
/// offset. `factor` and `offset` may be without data, together.
struct LayerNormTask {
  const void* x;
  void* y;
  int64_t rows, dim, x_stride;
  RowVectorsView factor, offset;
  float factor_offset;  // 1 for a modulation's scale, 0 for a weight
  float eps;
  NumberFormat format;
};

void layer_norm_cpu(const LayerNormTask& task);

/// Queues the kernel on `stream` (a cudaStream_t). Returns cudaGetLastError's number: 0 is success.
RUSHES_CUDA_PART int layer_norm_cuda(const LayerNormTask& task, void* stream);

}  // namespace rushes
