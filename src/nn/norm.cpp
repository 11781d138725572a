#include "nn/norm.h"

#include "base/error.h"

namespace rushes {

RmsNorm::RmsNorm(TensorLoader& loader, const std::string& name, int64_t dim, double eps,
                 RmsNormRounding rounding, std::optional<at::ScalarType> dtype)
    : weight_(loader.take(name + ".weight", {dim}, dtype)), eps_(eps), rounding_(rounding) {}

LayerNorm::LayerNorm(TensorLoader& loader, const std::string& name, int64_t dim, double eps,
                     std::optional<at::ScalarType> dtype)
    : dim_(dim),
      eps_(eps),
      weight_(loader.take(name + ".weight", {dim}, dtype).to(at::kFloat)),
      bias_(loader.take(name + ".bias", {dim}, dtype).to(at::kFloat)) {}

at::Tensor LayerNorm::forward(const at::Tensor& x) const {
  RUSHES_CHECK(x.dim() >= 1 && x.size(-1) == dim_, "x ", x.sizes(), ", dim ", dim_);
  return layer_norm(x, weight_, bias_, eps_);
}

at::Tensor LayerNorm::modulated(const at::Tensor& x, const RowVectors& scale, const RowVectors& shift) const {
  RUSHES_CHECK(!weight_.defined() && x.dim() >= 1 && x.size(-1) == dim_, "x ", x.sizes(), ", dim ", dim_);
  return modulated_layer_norm(x, scale, shift, eps_);
}

}  // namespace rushes
