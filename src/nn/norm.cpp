#include "nn/norm.h"

#include "base/error.h"
#include "dist/comm.h"

namespace rushes {

RmsNorm::RmsNorm(TensorLoader& loader, const std::string& name, int64_t dim, double eps,
                 RmsNormRounding rounding, std::optional<at::ScalarType> dtype)
    : weight_(loader.take(name + ".weight", {dim}, dtype)), dim_(dim), eps_(eps), rounding_(rounding) {}

RmsNorm::RmsNorm(TensorLoader& loader, const std::string& name, int64_t dim, double eps,
                 RmsNormRounding rounding, Share share)
    : weight_(loader.take_part(name + ".weight", {dim}, 0, share)),
      group_(loader.options().tp),
      dim_(dim),
      eps_(eps),
      rounding_(rounding) {}

void RmsNorm::forward_all_(std::vector<Part> parts) {
  const Comm* group = parts[0].norm->group_;
  if (group == nullptr || group->alone()) {
    for (Part& part : parts)
      rms_norm_(part.x, part.norm->weight_, part.norm->eps_, part.norm->rounding_);
    return;
  }
  std::vector<at::Tensor> wide, squares;
  for (const Part& part : parts) {
    RUSHES_CHECK(part.norm->group_ == group && part.norm->rounding_ == RmsNormRounding::after_weight,
                 "norms of two kinds");
    wide.push_back(part.x.to(at::kFloat));
    squares.push_back(wide.back().square().sum(-1).reshape({-1}));
  }
  at::Tensor sums = at::cat(squares);
  group->all_reduce_(sums);
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const RmsNorm& norm = *parts[i].norm;
    const int64_t rows = squares[i].size(0);
    const at::Tensor mean = sums.narrow(0, first, rows).div(static_cast<double>(norm.dim_));
    first += rows;
    const at::Tensor rate =
        at::rsqrt(mean + norm.eps_).view(parts[i].x.sizes().slice(0, parts[i].x.dim() - 1));
    parts[i].x.copy_(wide[i].mul_(rate.unsqueeze(-1)).mul_(norm.weight_));
  }
}

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
