#pragma once
// A vector for every row of a tensor, where many rows share one: what a timestep says to a video's tokens.

#include <ATen/ATen.h>

#include "kernels/common/row_vectors_view.h"
#include "kernels/common/tensor_rows.h"

namespace rushes {

/// Of a tensor seen as rows [R, dim]. Without an index vectors.size(0) divides R and each vector serves
/// R / vectors.size(0) rows in turn (the tokens of one sample); with one, row r takes vectors[index[r]].
struct RowVectors {
  at::Tensor vectors;  // [n, dim] float32, each one's elements side by side
  at::Tensor index;    // [R] int64, contiguous, each in [0, n); or undefined
};

/// What does not fit x is an InternalError. Undefined vectors give a view of none.
RowVectorsView view_for(const RowVectors& given, const at::Tensor& x);

/// Written out: float32, of x's shape (or one that broadcasts to it).
at::Tensor spread(const RowVectors& given, const at::Tensor& x);

}  // namespace rushes
