// layer_norm with modulation: checked against its definition first, then timed beside ATen's operators and a
// copy of the same bytes.

#include "kernels/layer_norm/layer_norm.h"

#include "base/error.h"
#include "kernels/common/bench.h"

namespace rushes {
namespace {

BenchRow measure(at::Device device, at::ScalarType dtype, int64_t tokens, int64_t dim) {
  const auto floats = at::TensorOptions().device(device).dtype(at::kFloat);
  const at::Tensor x = at::randn({1, tokens, dim}, floats.dtype(dtype));
  const RowVectors scale{at::randn({1, dim}, floats), {}}, shift{at::randn({1, dim}, floats), {}};
  bench_check("layer_norm", modulated_layer_norm(x, scale, shift, 1e-6),
              modulated_layer_norm_reference(x, scale, shift, 1e-6));
  return bench_beside(
      device, rushes::str(tokens, " x ", dim, " ", dtype), 2.0 * static_cast<double>(x.nbytes()),
      [&] { modulated_layer_norm(x, scale, shift, 1e-6); },
      [&] { modulated_layer_norm_reference(x, scale, shift, 1e-6); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_tokens_main(count, words, "layer_norm", {1536, 5120}, rushes::measure);
}
