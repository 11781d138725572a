#pragma once
// Dense layers. Parameters keep the names and shapes of the checkpoint: weight [out, in], bias [out].

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "kernels/linear/linear.h"
#include "weights/tensor_loader.h"

namespace rushes {

/// Parameters one below the other, each [rows, ...] taken as [rows, in], as linear() wants them; made once
/// for a node where the loader has a shelf. Empty where the loader noted one as wrong.
LinearWeight take_weight(TensorLoader& loader, const std::vector<Parameter>& parameters);

/// y = x W^T + b over the last dim.
class Linear {
 public:
  Linear() = default;
  /// Takes `<name>.weight` and, with `bias`, `<name>.bias`. `dtype`: the type to keep them in (default: the
  /// loader's).
  Linear(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, bool bias = true,
         std::optional<at::ScalarType> dtype = {});
  /// bias: [out], or undefined.
  Linear(LinearWeight weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}

  /// x: [..., in] -> [..., out]; computed in the weight's dtype (x is cast to it).
  at::Tensor forward(const at::Tensor& x, Epilogue epilogue = Epilogue::none) const;
  at::ScalarType dtype() const { return weight_.dtype(); }

 private:
  LinearWeight weight_;
  at::Tensor bias_;
};

}  // namespace rushes
