#include "attention/fastest_attention.h"

#include "kernels/common/brgemm.h"

namespace rushes {

AttentionBackend fastest_attention(at::Device device, Dtype dtype) {
  const bool flash = device.is_cpu() && ((dtype == Dtype::float32 && has_brgemm(at::kFloat)) ||
                                         (dtype == Dtype::bfloat16 && has_brgemm(at::kBFloat16)));
  return flash ? AttentionBackend::flash : AttentionBackend::sdpa;
}

}  // namespace rushes
