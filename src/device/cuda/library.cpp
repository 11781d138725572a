// librushes_cuda.so but for the kernels: the one file of this room that names CUDA.
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "device/cuda_library.h"

namespace rushes {

CudaDevices list_cuda_devices() {
  CudaDevices result;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    result.why_none = cudaGetErrorString(error);
    cudaGetLastError();  // an answer, not an error for the next call to find
    return result;
  }
  if (count == 0) result.why_none = "the driver lists no GPU (see CUDA_VISIBLE_DEVICES)";
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp found;
    if (cudaGetDeviceProperties(&found, i) != cudaSuccess) {
      cudaGetLastError();
      continue;
    }
    CudaDevice device;
    device.index = i;
    device.name = found.name;
    device.memory_bytes = static_cast<int64_t>(found.totalGlobalMem);
    device.capability_major = found.major;
    device.capability_minor = found.minor;
    // Compiled for sm_80 (which every 8.x runs) and sm_90a (9.0 alone runs it).
    device.has_kernels = found.major == 8 || (found.major == 9 && found.minor == 0);
    result.list.push_back(device);
  }
  return result;
}

int64_t cuda_free_memory(int index) {
  size_t free = 0, total = 0;
  int before = 0;
  const bool known = cudaGetDevice(&before) == cudaSuccess && cudaSetDevice(index) == cudaSuccess &&
                     cudaMemGetInfo(&free, &total) == cudaSuccess;
  cudaSetDevice(before);
  cudaGetLastError();  // an answer, not an error for the next call to find
  return known ? static_cast<int64_t>(free) : 0;
}

int64_t cuda_allocated_peak(at::Device device) {
  if (!c10::cuda::CUDACachingAllocator::get()->initialized()) return 0;  // nothing was ever allocated
  return c10::cuda::CUDACachingAllocator::getDeviceStats(device.index() < 0 ? c10::DeviceIndex{0}
                                                                            : device.index())
      .allocated_bytes[0]
      .peak;
}

const char* launch_on_cuda_stream(at::Device device, const std::function<int(void* stream)>& launch) {
  const c10::cuda::CUDAGuard guard(device);
  const auto error =
      static_cast<cudaError_t>(launch(c10::cuda::getCurrentCUDAStream(device.index()).stream()));
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace rushes
