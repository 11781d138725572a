#pragma once
// Dense layers. Parameters keep the names and shapes of the checkpoint: weight [out, in], bias [out].

#include <ATen/ATen.h>

#include <string>

#include "kernels/linear/linear.h"
#include "weights/tensor_loader.h"

namespace rushes {

/// y = x W^T + b over the last dim.
class Linear {
 public:
  Linear() = default;
  /// Takes `<name>.weight` and, with `bias`, `<name>.bias`. `dtype`: the type to keep them in (default: the
  /// loader's).
  Linear(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, bool bias = true,
         std::optional<at::ScalarType> dtype = {});
  /// Of parameters that are already there: weight [out, in]; bias [out], or undefined.
  Linear(const at::Tensor& weight, at::Tensor bias) : weight_(weight), bias_(std::move(bias)) {}

  /// x: [..., in] -> [..., out]; computed in the weight's dtype (x is cast to it).
  at::Tensor forward(const at::Tensor& x, Epilogue epilogue = Epilogue::none) const;
  at::ScalarType dtype() const { return weight_.dtype(); }

 private:
  LinearWeight weight_;
  at::Tensor bias_;
};

}  // namespace rushes
