#include "kernels/linear/linear.h"

#include "base/error.h"
#include "kernels/linear/linear_cpu.h"

namespace rushes {
namespace {

void check(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  RUSHES_CHECK(x.dim() >= 1 && weight.dim() == 2 && x.size(-1) == weight.size(1), "x ", x.sizes(),
               ", weight ", weight.sizes());
  RUSHES_CHECK(x.scalar_type() == weight.scalar_type() && x.device() == weight.device(), "x ", x.toString(),
               " on ", x.device(), ", weight ", weight.toString(), " on ", weight.device());
  if (!bias.defined()) return;
  RUSHES_CHECK(bias.dim() == 1 && bias.size(0) == weight.size(0) && bias.scalar_type() == x.scalar_type(),
               "bias ", bias.sizes(), ", weight ", weight.sizes());
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  check(x, weight, bias);
  if (!x.device().is_cpu() || x.numel() == 0 || weight.numel() == 0) return linear_reference(x, weight, bias);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  at::Tensor y = at::empty({x.numel() / x.size(-1), weight.size(0)}, x.options());
  linear_cpu(x.reshape({-1, x.size(-1)}), weight, bias, y);
  return y.view(shape);
}

at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
}

}  // namespace rushes
