#pragma once
// The CUDA half of device.h. In a build without CUDA every function says that there is none.

#include <c10/core/Device.h>

#include "device/device.h"

namespace rushes {

struct CudaDevices {
  std::vector<CudaDevice> list;
  std::string why_none;
};

/// Never throws: a missing driver is an answer.
CudaDevices cuda_devices();
int64_t cuda_peak_memory(at::Device device);

}  // namespace rushes
