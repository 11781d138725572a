// gated_add: checked against its definition first, then timed beside ATen's operators and a copy of the same
// bytes.

#include "kernels/gated_add/gated_add.h"

#include "base/error.h"
#include "kernels/common/bench.h"

namespace rushes {
namespace {

BenchRow measure(at::Device device, at::ScalarType dtype, int64_t tokens, int64_t dim) {
  const auto floats = at::TensorOptions().device(device).dtype(at::kFloat);
  const at::Tensor y = at::randn({1, tokens, dim}, floats.dtype(dtype));
  const RowVectors gate{at::randn({1, dim}, floats).mul_(1e-3), {}};
  at::Tensor x = at::randn({1, tokens, dim}, floats.dtype(dtype)), sum = x.clone();
  gated_add_(sum, y, gate);
  bench_check("gated_add", sum, gated_add_reference(x, y, gate));
  return bench_beside(
      device, rushes::str(tokens, " x ", dim, " ", dtype), 3.0 * static_cast<double>(x.nbytes()),
      [&] { gated_add_(x, y, gate); }, [&] { gated_add_reference(x, y, gate); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_tokens_main(count, words, "gated_add", {1536, 5120}, rushes::measure);
}
