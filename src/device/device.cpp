#include "device/device.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "device/blas_threads.h"
#include "device/cuda_library.h"

namespace rushes {
namespace {

// The value of the first line `key : value` of a /proc file, or "".
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
}

// Control groups limit a Slurm job or a container to less than the machine has.
int64_t usable_memory() {
  int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (std::ifstream(path) >> limit && limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes;
}

std::vector<std::string> speed_flags() {
  std::istringstream words(proc_value("/proc/cpuinfo", "flags"));
  const std::vector<std::string> matter = {"avx2",     "fma",         "f16c",        "avx512f",
                                           "avx512bw", "avx512_bf16", "avx512_fp16", "avx512_vnni",
                                           "amx_bf16", "amx_tile"};
  std::vector<std::string> found;
  for (std::string word; words >> word;) {
    if (std::find(matter.begin(), matter.end(), word) != matter.end()) found.push_back(word);
  }
  return found;
}

CudaDevices cuda_devices() {
  if (list_cuda_devices != nullptr) return list_cuda_devices();
  if (!RUSHES_WITH_CUDA) return {{}, "this build has no CUDA (it was configured without the CUDA toolkit)"};
  return {{}, "this machine has no NVIDIA driver (libcuda.so.1), or librushes_cuda.so did not load"};
}

}  // namespace

int64_t free_memory(const CudaDevice& device) {
  return cuda_free_memory != nullptr ? cuda_free_memory(device.index) : 0;
}

DeviceInfo device_info() {
  DeviceInfo info;
  info.cpu_model = proc_value("/proc/cpuinfo", "model name");
  info.cores = usable_cores();
  info.cpu_level = at::get_cpu_capability();
  info.cpu_flags = speed_flags();
  info.memory_bytes = usable_memory();
  CudaDevices cuda = cuda_devices();
  info.cuda = std::move(cuda.list);
  info.why_no_cuda = std::move(cuda.why_none);
  return info;
}

at::Device pick_device(DeviceKind kind, int local_rank) {
  RUSHES_CHECK(local_rank >= 0, "local_rank ", local_rank);
  if (kind == DeviceKind::cpu) return at::kCPU;
  const CudaDevices cuda = cuda_devices();
  if (cuda.list.empty()) {
    if (kind == DeviceKind::automatic) return at::kCPU;
    fail("device: cuda: there is no GPU to use here: ", cuda.why_none,
         ". Use `device: cpu` or `device: auto`.");
  }
  const CudaDevice& chosen = cuda.list[static_cast<size_t>(local_rank) % cuda.list.size()];
  if (!chosen.has_kernels) {
    if (kind == DeviceKind::automatic) return at::kCPU;
    fail("device: cuda: ", chosen.name, " has compute capability ", chosen.capability_major, ".",
         chosen.capability_minor, "; this build has kernels for 8.x and 9.0");
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(chosen.index));
}

void set_threads(int count) {
  RUSHES_CHECK(count >= 1, "count ", count);
  at::set_num_threads(count);
  keep_blas_single_threaded();
}

int64_t peak_memory(at::Device device) {
  if (device.is_cuda()) return cuda_allocated_peak == nullptr ? 0 : cuda_allocated_peak(device);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace rushes
