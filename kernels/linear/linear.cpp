#include "kernels/linear/linear.h"

#include "base/error.h"
#include "kernels/common/tensor_rows.h"
#include "kernels/gelu/gelu.h"
#include "kernels/linear/linear_cpu.h"
#include "kernels/linear/linear_panels.h"

namespace rushes {
namespace {

void check(const at::Tensor& x, const LinearWeight& weight, const at::Tensor& bias) {
  RUSHES_CHECK(x.dim() >= 1 && x.size(-1) == weight.in(), "x ", x.sizes(), ", weight [", weight.out(), ", ",
               weight.in(), "]");
  RUSHES_CHECK(x.scalar_type() == weight.dtype() && x.device() == weight.device(), "x ", x.toString(), " on ",
               x.device(), ", weight ", weight.dtype(), " on ", weight.device());
  if (!bias.defined()) return;
  RUSHES_CHECK(bias.dim() == 1 && bias.size(0) == weight.out() && bias.scalar_type() == x.scalar_type(),
               "bias ", bias.sizes(), ", weight [", weight.out(), ", ", weight.in(), "]");
}

// For 16-bit formats as for float32: gelu_tanh_ takes what the kernels take, ATen the rest.
at::Tensor finish(at::Tensor y, Epilogue epilogue) {
  if (epilogue == Epilogue::none || y.is_meta()) return y;
  if (!number_format(y.scalar_type())) return gelu_tanh_reference(y);
  gelu_tanh_(y);
  return y;
}

}  // namespace

at::Tensor LinearWeight::prepare(const at::Tensor& weight) {
  RUSHES_CHECK(weight.dim() == 2, "weight ", weight.sizes());
  // A parameter that was missing has a shape and no memory (weights/tensor_loader.h).
  const bool real = weight.device().is_cpu() && weight.numel() > 0 && weight.is_non_overlapping_and_dense();
  return real && can_pack_panels(weight.scalar_type(), weight.size(1)) ? pack_panels(weight) : weight;
}

LinearWeight::LinearWeight(const at::Tensor& prepared, int64_t out)
    : in_(prepared.size(1)), out_(out), dtype_(prepared.scalar_type()), device_(prepared.device()) {
  (prepared.dim() == 3 ? panels_ : plain_) = prepared;
}

at::Tensor linear(const at::Tensor& x, const LinearWeight& weight, const at::Tensor& bias,
                  Epilogue epilogue) {
  check(x, weight, bias);
  const bool empty = x.numel() == 0 || weight.in() == 0 || weight.out() == 0;
  if (!x.device().is_cpu() || empty) {
    RUSHES_CHECK(weight.plain().defined() || x.numel() == 0, "x ", x.sizes());
    if (weight.plain().defined()) return finish(linear_reference(x, weight.plain(), bias), epilogue);
  }
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.out();
  at::Tensor y = at::empty(shape, x.options());
  if (empty) return y;
  const at::Tensor rows = x.reshape({-1, weight.in()});
  at::Tensor flat = y.view({-1, weight.out()});
  if (weight.panels().defined()) {
    linear_panels(rows, weight.panels(), bias, flat, epilogue);
    return y;
  }
  linear_cpu(rows, weight.plain(), bias, flat);
  return finish(std::move(y), epilogue);
}

at::Tensor linear_sums(const at::Tensor& x, const LinearWeight& weight) {
  if (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble) return linear(x, weight, {});
  check(x, weight, {});
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.out();
  if (x.numel() == 0) return at::zeros(shape, x.options().dtype(at::kFloat));
  const at::Tensor rows = x.reshape({-1, weight.in()});
  if (weight.panels().defined()) {
    at::Tensor sums = at::empty(shape, x.options().dtype(at::kFloat));
    at::Tensor flat = sums.view({-1, weight.out()});
    linear_panels(rows, weight.panels(), {}, flat, Epilogue::none);
    return sums;
  }
  if (x.is_cuda()) return at::mm(rows, weight.plain().t(), at::kFloat).view(shape);
  return linear(x.to(at::kFloat), LinearWeight(weight.plain().to(at::kFloat)), {});
}

at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
}

}  // namespace rushes
