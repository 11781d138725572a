#pragma once
// From a tensor's device to the stream its kernels are queued on.

#include <c10/core/Device.h>

#include <functional>

namespace rushes {

/// Makes `device` current and hands `launch` its current stream (a cudaStream_t). `launch` answers with a
/// cudaError_t; what is no success is an InternalError that names the kernel. So is a call where
/// librushes_cuda.so is not loaded. Does not wait for the kernel.
void launch_on_stream(at::Device device, const char* kernel, const std::function<int(void* stream)>& launch);

}  // namespace rushes
