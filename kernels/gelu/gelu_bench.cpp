// gelu: checked against its definition first, then timed beside ATen's and a copy of the same bytes.

#include "kernels/gelu/gelu.h"

#include "base/error.h"
#include "kernels/common/bench.h"

namespace rushes {
namespace {

BenchRow measure(at::Device device, at::ScalarType dtype, int64_t tokens, int64_t dim) {
  const at::Tensor x = at::randn({1, tokens, dim}, at::TensorOptions().device(device).dtype(dtype));
  at::Tensor y = x.clone();
  gelu_tanh_(y);
  bench_check("gelu", y, gelu_tanh_reference(x));
  // Both with the copy that brings the numbers back: they shrink from call to call until they are subnormal.
  return bench_beside(
      device, rushes::str(tokens, " x ", dim, " ", dtype, ", and a copy"),
      4.0 * static_cast<double>(x.nbytes()), [&] { gelu_tanh_(y.copy_(x)); },
      [&] { at::gelu_(y.copy_(x), "tanh"); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_tokens_main(count, words, "gelu", {8960, 13824}, rushes::measure);
}
