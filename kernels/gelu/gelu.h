#pragma once
// GELU by its tanh formula (Hendrycks and Gimpel, arXiv 1606.08415, what torch calls approximate="tanh"):
// 0.5 x (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
// float32, bfloat16 and float16; in float32, rounded once. CPU and CUDA.

#include <ATen/ATen.h>

namespace rushes {

/// Written over x, of any shape and strides. Other dtypes are an InternalError.
void gelu_tanh_(at::Tensor& x);

/// The definition by ATen: what tests and benches hold the kernels to.
at::Tensor gelu_tanh_reference(const at::Tensor& x);

}  // namespace rushes
