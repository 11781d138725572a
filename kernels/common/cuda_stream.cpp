#include "kernels/common/cuda_stream.h"

#include "base/error.h"
#include "device/cuda_library.h"

namespace rushes {

void launch_on_stream(at::Device device, const char* kernel, const std::function<int(void* stream)>& launch) {
  if (launch_on_cuda_stream == nullptr)
    throw InternalError(rushes::str("kernel ", kernel, ": librushes_cuda.so is not loaded"));
  if (const char* error = launch_on_cuda_stream(device, launch); error != nullptr)
    throw InternalError(rushes::str("kernel ", kernel, ": ", error));
}

}  // namespace rushes
