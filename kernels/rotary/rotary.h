#pragma once
// Rotary position embedding (Su et al., arXiv 2104.09864) on neighbouring pairs of a head:
//   y[2i] = x[2i] cos[i] - x[2i + 1] sin[i],   y[2i + 1] = x[2i] sin[i] + x[2i + 1] cos[i]
// float32, bfloat16 and float16; arithmetic in float32, rounded once. CPU and CUDA.

#include <ATen/ATen.h>

namespace rushes {

/// x: [batch, tokens, heads, head dim], head dim even, any strides; cos, sin: float32 [tokens, head dim / 2]
/// on x's device. -> x's shape and dtype, contiguous. Bit-equal for any number of threads. Shapes, dtypes and
/// devices that do not fit are an InternalError.
at::Tensor rotary(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// The same, written over x.
void rotary_(at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// The definition in ATen's words, on any device: what tests and benches hold the kernels to.
at::Tensor rotary_reference(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace rushes
