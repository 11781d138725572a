#include "attention/fastest_attention.h"

#include "kernels/common/brgemm.h"

namespace rushes {

AttentionBackend fastest_attention(at::Device device, Dtype dtype) {
  const auto multiplied = [](at::ScalarType type) {
    return product_dtype(type) != at::ScalarType::Undefined;
  };
  const bool flash = device.is_cpu() && ((dtype == Dtype::float32 && multiplied(at::kFloat)) ||
                                         (dtype == Dtype::bfloat16 && multiplied(at::kBFloat16)));
  return flash ? AttentionBackend::flash : AttentionBackend::sdpa;
}

}  // namespace rushes
