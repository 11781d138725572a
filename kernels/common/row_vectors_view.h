#pragma once
// RowVectors as the kernels take them: no torch.

#include <cstdint>

namespace rushes {

/// Row r of a tensor takes the vector at `data` + stride * (index ? index[r] : r / repeat). `data` is null
/// where there are no vectors.
struct RowVectorsView {
  const float* data;
  const int64_t* index;  // or null
  int64_t stride, repeat;
};

#ifdef __CUDACC__
__host__ __device__
#endif
    inline const float*
    vector_of(const RowVectorsView& view, int64_t row) {
  return view.data + view.stride * (view.index != nullptr ? view.index[row] : row / view.repeat);
}

}  // namespace rushes
