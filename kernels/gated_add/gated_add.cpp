#include "kernels/gated_add/gated_add.h"

#include "base/error.h"
#include "kernels/common/cuda_stream.h"
#include "kernels/common/tensor_rows.h"
#include "kernels/gated_add/gated_add_launch.h"

namespace rushes {

void gated_add_(at::Tensor& x, const at::Tensor& y, const RowVectors& gate) {
  RUSHES_CHECK(x.dim() >= 1 && x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
                   x.device() == y.device(),
               "x ", x.toString(), " ", x.sizes(), ", y ", y.toString(), " ", y.sizes());
  RUSHES_CHECK(number_format(x.scalar_type()).has_value(), "x is ", x.toString());
  RUSHES_CHECK(gate.vectors.defined(), "no gate");
  if (x.numel() == 0) return;
  const std::optional<Rows> to = as_rows(x);
  if (!to) {
    at::Tensor packed = x.contiguous();
    gated_add_(packed, y, gate);
    x.copy_(packed);
    return;
  }
  const std::optional<Rows> from_view = as_rows(y);
  const at::Tensor packed_y = from_view ? y : y.contiguous();
  const Rows from = from_view ? *from_view : *as_rows(packed_y);
  const GatedAddTask task{
      .x = to->data,
      .y = from.data,
      .rows = to->rows,
      .dim = to->dim,
      .x_stride = to->stride,
      .y_stride = from.stride,
      .gate = view_for(gate, x),
      .format = *number_format(x.scalar_type()),
  };
  if (x.is_cpu()) return gated_add_cpu(task);
  if (x.is_cuda())
    return launch_on_stream(x.device(), "gated_add",
                            [&](void* stream) { return gated_add_cuda(task, stream); });
  throw InternalError(rushes::str("gated_add does not run on ", x.device()));
}

at::Tensor gated_add_reference(const at::Tensor& x, const at::Tensor& y, const RowVectors& gate) {
  return (x.to(at::kFloat) + y.to(at::kFloat) * spread(gate, x)).to(x.scalar_type());
}

}  // namespace rushes
