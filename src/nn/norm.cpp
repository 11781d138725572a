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

at::Tensor LayerNorm::forward_float(const at::Tensor& x) const {
  RUSHES_CHECK(x.dim() >= 1 && x.size(-1) == dim_, "x ", x.sizes(), ", dim ", dim_);
  const auto given = [](const at::Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; };
  return at::layer_norm(x.to(at::kFloat), {dim_}, given(weight_), given(bias_), eps_);
}

at::Tensor LayerNorm::forward(const at::Tensor& x) const {
  return forward_float(x).to(x.scalar_type());
}

}  // namespace rushes
