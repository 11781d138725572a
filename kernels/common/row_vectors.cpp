#include "kernels/common/row_vectors.h"

#include "base/error.h"

namespace rushes {

RowVectorsView view_for(const RowVectors& given, const at::Tensor& x) {
  const at::Tensor& v = given.vectors;
  if (!v.defined()) return {};
  const int64_t dim = x.size(-1), rows = x.numel() / std::max<int64_t>(1, dim);
  RUSHES_CHECK(v.dim() == 2 && v.size(1) == dim && v.scalar_type() == at::kFloat &&
                   v.device() == x.device() && (dim == 1 || v.stride(1) == 1),
               "vectors ", v.toString(), " ", v.sizes(), " strides ", v.strides(), ", x ", x.sizes());
  RowVectorsView view{v.const_data_ptr<float>(), nullptr, v.stride(0), 1};
  if (given.index.defined()) {
    const at::Tensor& index = given.index;
    RUSHES_CHECK(index.dim() == 1 && index.size(0) == rows && index.scalar_type() == at::kLong &&
                     index.is_contiguous() && index.device() == x.device(),
                 "index ", index.toString(), " ", index.sizes(), ", x ", x.sizes());
    view.index = index.const_data_ptr<int64_t>();
  } else {
    RUSHES_CHECK(v.size(0) > 0 && rows % v.size(0) == 0, "vectors ", v.sizes(), ", x ", x.sizes());
    view.repeat = std::max<int64_t>(1, rows / v.size(0));
  }
  return view;
}

at::Tensor spread(const RowVectors& given, const at::Tensor& x) {
  const at::Tensor& v = given.vectors;
  if (given.index.defined()) return v.index_select(0, given.index).view(x.sizes());
  const int64_t rows = x.numel() / std::max<int64_t>(1, x.size(-1));
  return v.repeat_interleave(rows / v.size(0), 0).view(x.sizes());
}

}  // namespace rushes
