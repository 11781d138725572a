#pragma once
// y = x W^T + b, the same bits for any number of threads.
//
// On the CPU, weights of float32 and bfloat16 are packed once into panels of 64 columns and multiplied by
// oneDNN's micro-kernel (kernels/common/brgemm.h), bfloat16 as float32 where the processor does that faster.
// Where that does not run, and for other formats, the product is cut into tiles whose sizes depend on the
// problem alone; each tile is one single-threaded GEMM of ATen's (MKL, oneDNN). Threads share tiles out
// either way. On CUDA it is ATen's.

#include <ATen/ATen.h>

namespace rushes {

/// A weight as linear() wants it on its device: made once, used often.
class LinearWeight {
 public:
  LinearWeight() = default;
  /// weight: [out, in], floating point. Where panels are made `weight` itself is not kept.
  explicit LinearWeight(const at::Tensor& weight) : LinearWeight(prepare(weight), weight.size(0)) {}
  /// Of what prepare() gave.
  LinearWeight(const at::Tensor& prepared, int64_t out);
  /// weight: [out, in] -> what a LinearWeight keeps of it: panels, where such are made, or `weight`.
  static at::Tensor prepare(const at::Tensor& weight);

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }
  /// One of the two is defined.
  const at::Tensor& plain() const { return plain_; }
  const at::Tensor& panels() const { return panels_; }

 private:
  int64_t in_ = 0, out_ = 0;
  at::ScalarType dtype_ = at::kFloat;
  at::Device device_ = at::kCPU;
  at::Tensor plain_;   // [out, in]
  at::Tensor panels_;  // see linear_panels.h
};

/// What is done to each y before it is written; y is rounded to its dtype first, as if the two were apart.
enum class Epilogue { none, gelu_tanh };

/// x: [..., in], bias: [out] or undefined; of the weight's dtype and device -> [..., out].
at::Tensor linear(const at::Tensor& x, const LinearWeight& weight, const at::Tensor& bias,
                  Epilogue epilogue = Epilogue::none);

/// x W^T in float32, not rounded to the weight's format: a part of a sum over ranks. (float64 stays.)
at::Tensor linear_sums(const at::Tensor& x, const LinearWeight& weight);

/// The definition, by ATen. weight: [out, in].
at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Rows and columns of y that one GEMM makes where there are no panels.
struct LinearTile {
  int64_t rows = 0, columns = 0;
};
LinearTile linear_tile(int64_t rows, int64_t columns);

}  // namespace rushes
