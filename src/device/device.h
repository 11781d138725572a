#pragma once
// The platform: what this machine offers, which device a rank works on, threads, memory. Works alike in
// builds without CUDA, where there simply is none.

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/settings.h"

namespace rushes {

struct CudaDevice {
  int index = 0;
  std::string name;  // "NVIDIA H200"
  int64_t memory_bytes = 0;
  int capability_major = 0, capability_minor = 0;
  bool has_kernels = false;  // our own kernels were compiled for its architecture
};

struct DeviceInfo {
  std::string cpu_model;  // as the kernel names it
  int cores = 1;          // that this process may use
  std::string
      cpu_level;  // instruction set that ATen and our kernels use here: "AVX512", "AVX2", "DEFAULT", ...
  std::vector<std::string> cpu_flags;  // of those that matter for speed, the ones this processor has
  int64_t memory_bytes = 0;  // of the machine, or of this process's control group where that is less
  std::vector<CudaDevice> cuda;
  std::string why_no_cuda;  // where `cuda` is empty: "built without CUDA", "no driver", ...
};

DeviceInfo device_info();

/// Bytes of a GPU that nobody holds now; 0 where it does not say. Takes some hundred MB of that GPU for as
/// long as the process lives (a CUDA context).
int64_t free_memory(const CudaDevice& device);

/// The device of a rank, `local_rank` counting the ranks of this node: for `cuda` GPU local_rank modulo the
/// number of GPUs; `automatic` takes a GPU where there is one. UserError that says why, where cuda is asked
/// for and none can be used.
at::Device pick_device(DeviceKind kind, int local_rank);

/// Threads that the calling thread's tensor operations use, at least 1. Results do not depend on it
/// (blas_threads.h).
void set_threads(int count);

/// The most memory this process held so far, in bytes: resident for the CPU, allocated tensors for a GPU.
int64_t peak_memory(at::Device device);

}  // namespace rushes
