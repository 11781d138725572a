#include "kernels/rms_norm/rms_norm.h"

#include "base/error.h"
#include "kernels/common/cuda_stream.h"
#include "kernels/common/tensor_rows.h"
#include "kernels/rms_norm/rms_norm_launch.h"

namespace rushes {
namespace {

at::ScalarType result_dtype(const at::Tensor& x, const at::Tensor& weight, RmsNormRounding rounding) {
  return rounding == RmsNormRounding::before_weight && weight.defined() ? weight.scalar_type()
                                                                        : x.scalar_type();
}

void check(const at::Tensor& x, const at::Tensor& weight) {
  RUSHES_CHECK(x.dim() >= 1 && x.size(-1) >= 1, "x ", x.sizes());
  RUSHES_CHECK(number_format(x.scalar_type()).has_value(), "x is ", x.toString());
  if (!weight.defined()) return;
  RUSHES_CHECK(weight.dim() == 1 && weight.size(0) == x.size(-1), "weight ", weight.sizes(), ", x ",
               x.sizes());
  const auto a = x.scalar_type(), b = weight.scalar_type();
  RUSHES_CHECK(number_format(b).has_value() && (a == b || a == at::kFloat || b == at::kFloat), "x is ",
               x.toString(), ", weight ", weight.toString());
  RUSHES_CHECK(x.device() == weight.device(), "x on ", x.device(), ", weight on ", weight.device());
}

// x and y: rows of one length, the elements of a row side by side.
void launch(const Rows& x, const Rows& y, const at::Tensor& weight, double eps, RmsNormRounding rounding,
            bool silu = false) {
  const at::Tensor packed_weight = weight.defined() ? weight.contiguous() : weight;
  const RmsNormTask task{
      .x = x.data,
      .weight = packed_weight.defined() ? packed_weight.const_data_ptr() : nullptr,
      .y = y.data,
      .rows = x.rows,
      .dim = x.dim,
      .x_stride = x.stride,
      .y_stride = y.stride,
      .eps = static_cast<float>(eps),
      .x_format = *number_format(x.dtype),
      .weight_format = *number_format(weight.defined() ? weight.scalar_type() : x.dtype),
      .round_before_weight = rounding == RmsNormRounding::before_weight,
      .silu = silu,
  };
  if (x.device.is_cpu()) return rms_norm_cpu(task);
  if (x.device.is_cuda())
    return launch_on_stream(x.device, "rms_norm", [&](void* stream) { return rms_norm_cuda(task, stream); });
  throw InternalError(rushes::str("rms_norm does not run on ", x.device));
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormRounding rounding) {
  check(x, weight);
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(result_dtype(x, weight, rounding)));
  if (x.numel() == 0) return y;
  const std::optional<Rows> in_place = as_rows(x);
  const at::Tensor packed = in_place ? x : x.contiguous();
  launch(in_place ? *in_place : *as_rows(packed), *as_rows(y), weight, eps, rounding);
  return y;
}

void rms_norm_(at::Tensor& x, const at::Tensor& weight, double eps, RmsNormRounding rounding) {
  check(x, weight);
  RUSHES_CHECK(result_dtype(x, weight, rounding) == x.scalar_type(), "x is ", x.toString(), ", weight ",
               weight.toString());
  if (x.numel() == 0) return;
  if (const std::optional<Rows> rows = as_rows(x)) {
    launch(*rows, *rows, weight, eps, rounding);
  } else {
    x.copy_(rms_norm(x, weight, eps, rounding));
  }
}

void rms_norm_silu_out(at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, double eps) {
  check(x, weight);
  RUSHES_CHECK(out.sizes() == x.sizes() && out.scalar_type() == x.scalar_type() && out.device() == x.device(),
               "out ", out.toString(), " ", out.sizes(), ", x ", x.toString(), " ", x.sizes());
  if (x.numel() == 0) return;
  const std::optional<Rows> from = as_rows(x), to = as_rows(out);
  if (from && to) {
    launch(*from, *to, weight, eps, RmsNormRounding::after_weight, /*silu=*/true);
  } else {
    at::silu_out(out, rms_norm(x, weight, eps));
  }
}

at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps,
                              RmsNormRounding rounding) {
  check(x, weight);
  const at::Tensor wide = x.to(at::kFloat);
  at::Tensor y = wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  if (!weight.defined()) return y.to(x.scalar_type());
  if (rounding == RmsNormRounding::after_weight) return (y * weight.to(at::kFloat)).to(x.scalar_type());
  return y.to(weight.scalar_type()) * weight;
}

at::Tensor rms_norm_silu_reference(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return at::silu(rms_norm_reference(x, weight, eps).to(at::kFloat)).to(x.scalar_type());
}

}  // namespace rushes
