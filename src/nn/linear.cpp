#include "nn/linear.h"

namespace rushes {

LinearWeight take_weight(TensorLoader& loader, const std::vector<Parameter>& parameters) {
  int64_t out = 0;
  for (const Parameter& parameter : parameters) {
    const bool rows_shared = parameter.share && parameter.dim == 0;
    out += rows_shared ? parameter.share->count : parameter.shape[0];
  }
  const at::Tensor made = loader.make(parameters, [](const std::vector<at::Tensor>& tensors) {
    std::vector<at::Tensor> rows;
    for (const at::Tensor& tensor : tensors)
      rows.push_back(tensor.flatten(1));
    return LinearWeight::prepare(rows.size() == 1 ? rows[0] : at::cat(rows));
  });
  return made.defined() ? LinearWeight(made, out) : LinearWeight();
}

Linear::Linear(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, bool bias,
               std::optional<at::ScalarType> dtype)
    : weight_(take_weight(loader, {{name + ".weight", {out, in}, dtype}})) {
  if (bias) bias_ = loader.take(name + ".bias", {out}, dtype);
}

at::Tensor Linear::forward(const at::Tensor& x, Epilogue epilogue) const {
  return linear(x.to(weight_.dtype()), weight_, bias_, epilogue);
}

}  // namespace rushes
