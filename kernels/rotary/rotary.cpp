#include "kernels/rotary/rotary.h"

#include "base/error.h"
#include "kernels/common/cuda_stream.h"
#include "kernels/common/tensor_rows.h"
#include "kernels/rotary/rotary_launch.h"

namespace rushes {
namespace {

void check(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  RUSHES_CHECK(x.dim() == 4 && x.size(3) % 2 == 0, "x ", x.sizes());
  RUSHES_CHECK(number_format(x.scalar_type()).has_value(), "x is ", x.toString());
  for (const at::Tensor* table : {&cos, &sin}) {
    RUSHES_CHECK(table->sizes() == at::IntArrayRef({x.size(1), x.size(3) / 2}), "table ", table->sizes(),
                 ", x ", x.sizes());
    RUSHES_CHECK(table->scalar_type() == at::kFloat && table->device() == x.device(), "table is ",
                 table->toString(), ", x ", x.toString());
  }
}

// x and y: shapes as checked, the last dim's stride 1.
void launch(const at::Tensor& x, at::Tensor& y, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor packed_cos = cos.contiguous(), packed_sin = sin.contiguous();
  const RotaryTask task{
      .x = x.const_data_ptr(),
      .y = y.mutable_data_ptr(),
      .cos = packed_cos.const_data_ptr<float>(),
      .sin = packed_sin.const_data_ptr<float>(),
      .batch = x.size(0),
      .tokens = x.size(1),
      .heads = x.size(2),
      .dim = x.size(3),
      .x_batch = x.stride(0),
      .x_token = x.stride(1),
      .x_head = x.stride(2),
      .y_batch = y.stride(0),
      .y_token = y.stride(1),
      .y_head = y.stride(2),
      .format = *number_format(x.scalar_type()),
  };
  if (x.is_cpu()) return rotary_cpu(task);
  if (x.is_cuda()) {
    return launch_on_stream(x.device(), "rotary", [&](void* stream) { return rotary_cuda(task, stream); });
  }
  throw InternalError(rushes::str("rotary does not run on ", x.device()));
}

bool heads_packed(const at::Tensor& x) {
  return x.stride(3) == 1;
}

}  // namespace

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  check(x, cos, sin);
  at::Tensor y = at::empty(x.sizes(), x.options());
  if (x.numel() > 0) launch(heads_packed(x) ? x : x.contiguous(), y, cos, sin);
  return y;
}

void rotary_(at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  check(x, cos, sin);
  if (x.numel() == 0) return;
  if (heads_packed(x)) {
    launch(x, x, cos, sin);
  } else {
    x.copy_(rotary(x, cos, sin));
  }
}

at::Tensor rotary_reference(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  check(x, cos, sin);
  const at::Tensor pairs = x.to(at::kFloat).unflatten(3, {-1, 2});
  const at::Tensor first = pairs.select(4, 0), second = pairs.select(4, 1);
  const at::Tensor c = cos.unsqueeze(1),
                   s = sin.unsqueeze(1);  // [tokens, 1, dim / 2], the same for all heads
  return at::stack({first * c - second * s, first * s + second * c}, 4).flatten(3).to(x.scalar_type());
}

}  // namespace rushes
