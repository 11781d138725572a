#include "kernels/common/cpu.h"

#include <ATen/Version.h>

#include <string>

namespace rushes {

CpuLevel cpu_level() {
  static const CpuLevel level = [] {
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return CpuLevel::avx512;
    if (capability == "AVX2") return CpuLevel::avx2;
    return CpuLevel::baseline;
  }();
  return level;
}

}  // namespace rushes
