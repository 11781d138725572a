#include "kernels/gelu/gelu.h"

#include "base/error.h"
#include "kernels/common/cuda_stream.h"
#include "kernels/common/tensor_rows.h"
#include "kernels/gelu/gelu_launch.h"

namespace rushes {

void gelu_tanh_(at::Tensor& x) {
  const std::optional<NumberFormat> format = number_format(x.scalar_type());
  RUSHES_CHECK(format.has_value(), "x is ", x.toString());
  if (x.numel() == 0) return;
  if (!x.is_non_overlapping_and_dense()) {
    at::Tensor packed = x.contiguous();
    gelu_tanh_(packed);
    x.copy_(packed);
    return;
  }
  void* data = x.mutable_data_ptr();
  if (x.is_cpu()) return gelu_tanh_cpu(data, x.numel(), *format);
  if (x.is_cuda()) {
    return launch_on_stream(x.device(), "gelu_tanh",
                            [&](void* stream) { return gelu_tanh_cuda(data, x.numel(), *format, stream); });
  }
  throw InternalError(rushes::str("gelu_tanh does not run on ", x.device()));
}

at::Tensor gelu_tanh_reference(const at::Tensor& x) {
  return at::gelu(x, "tanh");
}

}  // namespace rushes
