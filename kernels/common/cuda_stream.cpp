#include "kernels/common/cuda_stream.h"

#ifdef RUSHES_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "base/error.h"

namespace rushes {

void launch_on_stream(at::Device device, const char* kernel, const std::function<int(void* stream)>& launch) {
  const c10::cuda::CUDAGuard guard(device);
  const auto error =
      static_cast<cudaError_t>(launch(c10::cuda::getCurrentCUDAStream(device.index()).stream()));
  if (error != cudaSuccess)
    throw InternalError(rushes::str("kernel ", kernel, ": ", cudaGetErrorString(error)));
}

}  // namespace rushes
#endif
