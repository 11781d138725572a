#include "kernels/layer_norm/layer_norm.h"

#include "base/error.h"
#include "kernels/common/cuda_stream.h"
#include "kernels/common/tensor_rows.h"
#include "kernels/layer_norm/layer_norm_launch.h"

namespace rushes {
namespace {

at::Tensor run(const at::Tensor& x, const RowVectors& factor, const RowVectors& offset, float factor_offset,
               double eps) {
  RUSHES_CHECK(x.dim() >= 1 && x.size(-1) >= 1, "x ", x.sizes());
  RUSHES_CHECK(number_format(x.scalar_type()).has_value(), "x is ", x.toString());
  RUSHES_CHECK(factor.vectors.defined() == offset.vectors.defined(), "one of two vectors");
  at::Tensor y = at::empty(x.sizes(), x.options());
  if (x.numel() == 0) return y;
  const std::optional<Rows> in_place = as_rows(x);
  const at::Tensor packed = in_place ? x : x.contiguous();
  const Rows rows = in_place ? *in_place : *as_rows(packed);
  const LayerNormTask task{
      .x = rows.data,
      .y = y.mutable_data_ptr(),
      .rows = rows.rows,
      .dim = rows.dim,
      .x_stride = rows.stride,
      .factor = view_for(factor, x),
      .offset = view_for(offset, x),
      .factor_offset = factor_offset,
      .eps = static_cast<float>(eps),
      .format = *number_format(x.scalar_type()),
  };
  if (x.is_cpu()) {
    layer_norm_cpu(task);
  } else if (x.is_cuda()) {
    launch_on_stream(x.device(), "layer_norm", [&](void* stream) { return layer_norm_cuda(task, stream); });
  } else {
    throw InternalError(rushes::str("layer_norm does not run on ", x.device()));
  }
  return y;
}

RowVectors shared(const at::Tensor& vector) {
  return {vector.defined() ? vector.unsqueeze(0).contiguous() : vector, {}};
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  return run(x, shared(weight), shared(bias), 0, eps);
}

at::Tensor modulated_layer_norm(const at::Tensor& x, const RowVectors& scale, const RowVectors& shift,
                                double eps) {
  return run(x, scale, shift, 1, eps);
}

at::Tensor layer_norm_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                double eps) {
  const auto given = [](const at::Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; };
  return at::layer_norm(x.to(at::kFloat), {x.size(-1)}, given(weight), given(bias), eps).to(x.scalar_type());
}

at::Tensor modulated_layer_norm_reference(const at::Tensor& x, const RowVectors& scale,
                                          const RowVectors& shift, double eps) {
  const at::Tensor norm = at::layer_norm(x.to(at::kFloat), {x.size(-1)}, {}, {}, eps);
  return (norm * (1 + spread(scale, x)) + spread(shift, x)).to(x.scalar_type());
}

}  // namespace rushes
