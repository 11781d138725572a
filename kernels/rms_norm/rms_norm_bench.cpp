// rms_norm, and rms_norm_silu_out over a VAE's pixels: checked against their definitions first, then timed
// beside ATen's and beside a copy of the same bytes.

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

/// As a VAE has it before each of its last convolutions: a frame of 480 x 832.
BenchRow measure_silu(at::Device device, at::ScalarType dtype, int64_t pixels, int64_t channels) {
  const auto options = at::TensorOptions().device(device).dtype(dtype);
  const at::Tensor x = at::randn({1, pixels, channels}, options),
                   weight = at::ones({channels}, options).mul_(0.99);
  at::Tensor y = at::empty_like(x);
  rms_norm_silu_out(y, x, weight, 1e-30);
  bench_check("rms_norm_silu_out", y, rms_norm_silu_reference(x, weight, 1e-30));
  return bench_beside(
      device, rushes::str("with SiLU, ", pixels, " x ", channels, " ", dtype),
      2.0 * static_cast<double>(x.nbytes()), [&] { rms_norm_silu_out(y, x, weight, 1e-30); },
      [&] { at::silu_out(y, at::rms_norm(x, {channels}, weight, 1e-30)); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_main(count, words, [](const rushes::BenchOptions& options) {
    std::vector<rushes::BenchRow> rows = rushes::bench_tokens(options, {1536, 5120}, rushes::measure);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t channels : {96, 192, 384})
        rows.push_back(
            rushes::measure_silu(options.device, dtype, int64_t{480} * 832 * 96 / channels, channels));
    }
    rushes::bench_report("rms_norm", options, rows);
  });
}
