// flash_attention: checked against its definition first, then timed beside ATen's.

#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "kernels/common/bench.h"
#include "kernels/flash_attention/flash_attention.h"

namespace rushes {
namespace {

BenchRow measure(at::ScalarType dtype, int64_t queries, int64_t keys, int64_t heads, int64_t dim) {
  const auto options = at::TensorOptions().dtype(dtype);
  const at::Tensor q = at::randn({1, queries, heads, dim}, options),
                   k = at::randn({1, keys, heads, dim}, options),
                   v = at::randn({1, keys, heads, dim}, options);
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const at::Tensor y = flash_attention(q, k, v, scale), expected = flash_attention_reference(q, k, v, scale);
  const double worst = (y.to(at::kFloat) - expected.to(at::kFloat)).abs().max().item<double>();
  const double allowed = expected.abs().max().item<double>() * (dtype == at::kFloat ? 1e-5 : 1e-2);
  if (!(worst <= allowed)) fail("flash_attention ", dtype, " is off by ", worst, ", more than ", allowed);
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(1, 2); };
  return bench_beside(
      at::kCPU, rushes::str(queries, " x ", keys, ", ", heads, " heads x ", dim, " ", dtype),
      static_cast<double>(q.nbytes() + k.nbytes() + v.nbytes() + y.nbytes()),
      [&] { flash_attention(q, k, v, scale); },
      [&] {
        at::scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v), {}, 0.0, false,
                                         scale);
      });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_main(count, words, [](const rushes::BenchOptions& options) {
    if (!options.device.is_cpu()) {
      std::puts("flash_attention is the CPU's: nothing to time here");
      return;
    }
    std::vector<rushes::BenchRow> rows;
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      // The demo's, and Wan 1.3B's over two latent frames of 480 x 832: itself and the text.
      rows.push_back(rushes::measure(dtype, 80, 80, 6, 32));
      rows.push_back(rushes::measure(dtype, 3120, 3120, 12, 128));
      rows.push_back(rushes::measure(dtype, 3120, 512, 12, 128));
    }
    rushes::bench_report("flash_attention", options, rows);
  });
}
