#pragma once
// y = x W^T + b, the same bits for any number of threads.
//
// On the CPU the product is cut into tiles whose sizes depend on the problem alone; each tile is one
// single-threaded GEMM (MKL for float32, oneDNN for bfloat16 and float16), and threads share the tiles out.
// On CUDA it is ATen's.

#include <ATen/ATen.h>

namespace rushes {

/// x: [..., in], weight: [out, in], bias: [out] or undefined; one dtype, one device -> [..., out].
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// The definition, by ATen.
at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Rows and columns of y that one GEMM makes.
struct LinearTile {
  int64_t rows = 0, columns = 0;
};
LinearTile linear_tile(int64_t rows, int64_t columns);

}  // namespace rushes
