#pragma once
// Between the checks (gated_add.cpp) and the two machines: plain pointers and sizes, no torch.

#include <cstdint>

#include "device/cuda_part.h"
#include "kernels/common/number_format.h"
#include "kernels/common/row_vectors_view.h"

namespace rushes {

/// Rows of `dim` elements that lie together, x_stride and y_stride elements from row to row.
struct GatedAddTask {
  void* x;
  const void* y;
  int64_t rows, dim, x_stride, y_stride;
  RowVectorsView gate;
  NumberFormat format;
};

void gated_add_cpu(const GatedAddTask& task);

/// Queues the kernel on `stream` (a cudaStream_t). Returns cudaGetLastError's number: 0 is success.
RUSHES_CUDA_PART int gated_add_cuda(const GatedAddTask& task, void* stream);

}  // namespace rushes
