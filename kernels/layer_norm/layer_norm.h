#pragma once
// Layer norm over the last dim (Ba et al., arXiv 1607.06450), affine or modulated by what belongs to a row
// ("adaLN", Peebles and Xie, arXiv 2212.09748): y = (x - mean) / sqrt(var + eps) * factor + offset.
// float32, bfloat16 and float16; all in float32, rounded once to x's dtype. CPU and CUDA.

#include <ATen/ATen.h>

#include "kernels/common/row_vectors.h"

namespace rushes {

/// x: [..., dim], any strides; weight and bias: [dim] float32 on x's device, or both undefined -> x's shape
/// and dtype, contiguous. Sums are the same for any number of threads, rows and strides. What does not fit is
/// an InternalError.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);

/// norm(x) * (1 + scale) + shift, each row with its own vectors.
at::Tensor modulated_layer_norm(const at::Tensor& x, const RowVectors& scale, const RowVectors& shift,
                                double eps);

/// The definitions in ATen's words, on any device: what tests and benches hold the kernels to.
at::Tensor layer_norm_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                double eps);
at::Tensor modulated_layer_norm_reference(const at::Tensor& x, const RowVectors& scale,
                                          const RowVectors& shift, double eps);

}  // namespace rushes
