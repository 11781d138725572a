// rms_norm: checked against its definition first, then timed beside ATen's and beside a copy of the same
// bytes.

#include "kernels/rms_norm/rms_norm.h"

#include "base/error.h"
#include "kernels/common/bench.h"

namespace rushes {
namespace {

BenchRow measure(at::Device device, at::ScalarType dtype, int64_t tokens, int64_t dim) {
  const auto options = at::TensorOptions().device(device).dtype(dtype);
  at::Tensor x = at::randn({1, tokens, dim}, options);
  const at::Tensor weight = at::ones({dim}, options).mul_(0.99);
  bench_check("rms_norm", rms_norm(x, weight, 1e-6), rms_norm_reference(x, weight, 1e-6));
  const double bytes = 2.0 * static_cast<double>(x.nbytes()) + static_cast<double>(weight.nbytes());
  return bench_beside(
      device, rushes::str(tokens, " x ", dim, " ", dtype), bytes, [&] { rms_norm_(x, weight, 1e-6); },
      [&] { at::rms_norm(x, {dim}, weight, 1e-6); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_tokens_main(count, words, "rms_norm", {1536, 5120}, rushes::measure);
}
