#pragma once
// x + y * gate: a residual that each row lets in by its own vector (Peebles and Xie, arXiv 2212.09748).
// float32, bfloat16 and float16; in float32, rounded once to x's dtype. CPU and CUDA.

#include <ATen/ATen.h>

#include "kernels/common/row_vectors.h"

namespace rushes {

/// Written over x. x, y: [..., dim] of one shape and dtype, any strides (contiguous is fastest). What does
/// not fit is an InternalError.
void gated_add_(at::Tensor& x, const at::Tensor& y, const RowVectors& gate);

/// The definition in ATen's words, on any device: what tests and benches hold the kernels to.
at::Tensor gated_add_reference(const at::Tensor& x, const at::Tensor& y, const RowVectors& gate);

}  // namespace rushes
