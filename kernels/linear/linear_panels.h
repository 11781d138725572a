#pragma once
// linear() on the CPU by oneDNN's micro-kernel. A panel holds 64 rows of W (columns of y), transposed:
// [in, 64], in bfloat16 with two rows interleaved, [in / 2, 64, 2]. What is left of the last panel is zeros.

#include <ATen/ATen.h>

#include <optional>

#include "kernels/linear/linear.h"

namespace rushes {

/// Whether the micro-kernel runs here (product_dtype), and takes this depth (bfloat16: an even one).
bool can_pack_panels(at::ScalarType dtype, int64_t in);

/// weight: [out, in] -> [panels, in, 64], in bfloat16 as said above.
at::Tensor pack_panels(const at::Tensor& weight);

/// x: [rows, in], rows any distance apart; bias: [out] or undefined; y: [rows, out], contiguous, x's dtype
/// or float32: every element is written. products: what x and the panels are multiplied as, x's dtype or
/// float32; the default is product_dtype's.
void linear_panels(const at::Tensor& x, const at::Tensor& panels, const at::Tensor& bias, at::Tensor& y,
                   Epilogue epilogue, std::optional<at::ScalarType> products = {});

}  // namespace rushes
