#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace rushes {

/// As flash_attention, of tensors whose last dim lies side by side; out: contiguous, every element written.
/// lse: see flash_attention.h, or undefined. products: what is multiplied, q's dtype or float32; the default
/// is product_dtype's (kernels/common/brgemm.h).
void flash_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, float scale,
                         at::Tensor& out, const at::Tensor& lse, std::optional<at::ScalarType> products = {});

}  // namespace rushes
