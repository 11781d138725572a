#pragma once
// RMS norm over the last dim: y = x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich, arXiv 1910.07467).
// float32, bfloat16 and float16; sums and products in float32. CPU and CUDA.

#include <ATen/ATen.h>

#include <optional>

namespace rushes {

/// Where the references round in 16 bits, and thus the dtype of the result:
/// - after_weight: torch.nn.RMSNorm. Multiplied by the weight in float32, rounded once, to x's dtype.
/// - before_weight: T5LayerNorm and diffusers' RMSNorm. x / sqrt(...) is rounded to the weight's dtype,
/// multiplied
///   in it, and the result has it. (Without a weight: x's dtype.)
enum class RmsNormRounding { after_weight, before_weight };

/// x: [..., dim], dim >= 1, any strides; weight: [dim] on x's device, in x's dtype, or either of them
/// float32; or an undefined tensor for none. -> x's shape, contiguous. The sum over a row is the same for any
/// number of threads, rows and strides. Shapes, dtypes and devices that do not fit are an InternalError.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                    RmsNormRounding rounding = RmsNormRounding::after_weight);

/// The same, written over x, whose last dim must have stride 1 and whose dtype must be the result's.
void rms_norm_(at::Tensor& x, const at::Tensor& weight, double eps,
               RmsNormRounding rounding = RmsNormRounding::after_weight);

/// silu(rms_norm(x)), rounded after each, written to `out`: x's shape and dtype, any strides: one pass
/// where both can be seen as rows. (VAEs have the two together before every convolution.)
void rms_norm_silu_out(at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, double eps);

/// The definition in ATen's words, on any device: what tests and benches hold the kernels to.
at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps,
                              RmsNormRounding rounding = RmsNormRounding::after_weight);
at::Tensor rms_norm_silu_reference(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace rushes
