#include "nn/linear.h"

namespace rushes {

Linear::Linear(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, bool bias,
               std::optional<at::ScalarType> dtype)
    : weight_(loader.take(name + ".weight", {out, in}, dtype)) {
  if (bias) bias_ = loader.take(name + ".bias", {out}, dtype);
}

at::Tensor Linear::forward(const at::Tensor& x, Epilogue epilogue) const {
  return linear(x.to(weight_.dtype()), weight_, bias_, epilogue);
}

}  // namespace rushes
