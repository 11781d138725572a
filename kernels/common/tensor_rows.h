#pragma once
// Tensors as the kernels take them: a format, and rows with a stride.

#include <ATen/ATen.h>

#include <optional>

#include "kernels/common/number_format.h"

namespace rushes {

/// The kernels' name of a dtype, or nothing where no kernel takes it.
std::optional<NumberFormat> number_format(at::ScalarType dtype);

/// A tensor of two or more dims seen as `rows` rows of `dim` elements that lie side by side, `stride`
/// elements from row to row.
struct Rows {
  void* data;
  int64_t rows, dim, stride;
  at::ScalarType dtype;
  at::Device device;
};

/// Nothing where the tensor's strides do not allow it. Never copies.
std::optional<Rows> as_rows(const at::Tensor& x);

}  // namespace rushes
