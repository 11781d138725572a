#pragma once
// Between the checks (gelu.cpp) and the two machines: plain pointers and sizes, no torch.

#include <cstdint>

#include "device/cuda_part.h"
#include "kernels/common/number_format.h"

namespace rushes {

/// `count` numbers side by side.
void gelu_tanh_cpu(void* x, int64_t count, NumberFormat format);

/// Queues the kernel on `stream` (a cudaStream_t). Returns cudaGetLastError's number: 0 is success.
RUSHES_CUDA_PART int gelu_tanh_cuda(void* x, int64_t count, NumberFormat format, void* stream);

}  // namespace rushes
