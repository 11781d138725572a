#pragma once
// What lies in librushes_cuda.so: the CUDA half of device.h and all kernels (kernels/*/*.cu). Only a machine
// with an NVIDIA driver loads it (main.cpp; tests are linked with it), for with it come LibTorch's CUDA
// libraries: a tenth of a second and 350 MB a process.
//
// Each of its functions is declared RUSHES_CUDA_PART: a weak reference, null where the library is not loaded.

#include <c10/core/Device.h>

#include <functional>
#include <string>
#include <vector>

#include "device/cuda_part.h"
#include "device/device.h"

namespace rushes {

struct CudaDevices {
  std::vector<CudaDevice> list;
  std::string why_none;
};

/// Never throws: a missing driver is an answer. Asks for nothing that would make a context: each rank would
/// hold memory of every GPU of its node, and a GPU in exclusive mode would be taken.
RUSHES_CUDA_PART CudaDevices list_cuda_devices();

/// Bytes that nobody holds, or 0; makes a context on that GPU.
RUSHES_CUDA_PART int64_t cuda_free_memory(int index);

/// Bytes of tensors, at most, so far.
RUSHES_CUDA_PART int64_t cuda_allocated_peak(at::Device device);

/// Makes `device` current and hands `launch` its current stream (a cudaStream_t); `launch` answers with a
/// cudaError_t. Returns what CUDA says of it, or null for success.
RUSHES_CUDA_PART const char* launch_on_cuda_stream(at::Device device,
                                                   const std::function<int(void* stream)>& launch);

}  // namespace rushes
