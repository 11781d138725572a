#pragma once
// Norms over the last dim, as layers with parameters. Both compute in float32 whatever the dtypes.

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "kernels/layer_norm/layer_norm.h"
#include "kernels/rms_norm/rms_norm.h"
#include "weights/tensor_loader.h"

namespace rushes {

/// y = x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich, arXiv 1910.07467). `rounding` says which
/// reference is followed in 16 bits and with it the result's dtype: see kernels/rms_norm/rms_norm.h.
class RmsNorm {
 public:
  RmsNorm() = default;
  /// Takes `<name>.weight`, [dim]. `dtype`: the type to keep it in (default: the loader's).
  RmsNorm(TensorLoader& loader, const std::string& name, int64_t dim, double eps, RmsNormRounding rounding,
          std::optional<at::ScalarType> dtype = {});
  /// Over `dim` numbers of which this rank holds `share` (of x and weight alike), the ranks of
  /// loader.options().tp the rest.
  RmsNorm(TensorLoader& loader, const std::string& name, int64_t dim, double eps, RmsNormRounding rounding,
          Share share);

  /// x: [..., dim], any strides.
  at::Tensor forward(const at::Tensor& x) const { return rms_norm(x, weight_, eps_, rounding_); }
  /// The same, written over x, whose last dim must lie together in memory; the result's dtype must be x's.
  void forward_(at::Tensor x) const { forward_all_({{this, std::move(x)}}); }

  /// Several norms of one group, each over its own x, with one exchange. As forward_.
  struct Part {
    const RmsNorm* norm;
    at::Tensor x;
  };
  static void forward_all_(std::vector<Part> parts);

 private:
  at::Tensor weight_;
  const Comm* group_ = nullptr;  // holds a row together; nullptr: this rank has whole rows
  int64_t dim_ = 0;              // of a whole row
  double eps_ = 0;
  RmsNormRounding rounding_ = RmsNormRounding::after_weight;
};

/// y = (x - mean) / sqrt(var + eps) [* weight + bias] (Ba et al., arXiv 1607.06450), rounded once at the end,
/// which is what torch's LayerNorm does and diffusers' FP32LayerNorm.
class LayerNorm {
 public:
  LayerNorm() = default;
  /// Without parameters.
  LayerNorm(int64_t dim, double eps) : dim_(dim), eps_(eps) {}
  /// Takes `<name>.weight` and `<name>.bias`, [dim]. `dtype`: the type the reference holds them in (default:
  /// the loader's); they are rounded to it and kept in float32.
  LayerNorm(TensorLoader& loader, const std::string& name, int64_t dim, double eps,
            std::optional<at::ScalarType> dtype = {});

  /// x: [..., dim] -> the same shape and dtype.
  at::Tensor forward(const at::Tensor& x) const;
  /// forward(x) * (1 + scale) + shift, rounded once. Of a norm without parameters.
  at::Tensor modulated(const at::Tensor& x, const RowVectors& scale, const RowVectors& shift) const;

 private:
  int64_t dim_ = 0;
  double eps_ = 0;
  at::Tensor weight_, bias_;
};

}  // namespace rushes
