#include "kernels/common/tensor_rows.h"

namespace rushes {

std::optional<NumberFormat> number_format(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return NumberFormat::f32;
    case at::kBFloat16:
      return NumberFormat::bf16;
    case at::kHalf:
      return NumberFormat::f16;
    default:
      return std::nullopt;
  }
}

std::optional<Rows> as_rows(const at::Tensor& x) {
  const int64_t dim = x.size(-1);
  if (dim > 1 && x.stride(-1) != 1) return std::nullopt;
  // The outer dims must step evenly: each one's stride is the inner ones' sizes times the step from row to
  // row.
  int64_t rows = 1, stride = dim;
  for (int64_t d = x.dim() - 2; d >= 0; --d) {
    if (x.size(d) == 1) continue;
    if (rows == 1) stride = x.stride(d);
    if (x.stride(d) != rows * stride) return std::nullopt;
    rows *= x.size(d);
  }
  return Rows{const_cast<void*>(x.const_data_ptr()), rows, dim, stride, x.scalar_type(), x.device()};
}

}  // namespace rushes
