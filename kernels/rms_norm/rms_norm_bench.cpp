// rms_norm: checked against its definition first, then timed beside ATen's and beside a copy of the same
// bytes.

#include "kernels/common/bench.h"
#include "kernels/rms_norm/rms_norm.h"

#include "base/error.h"

namespace rushes {
namespace {

BenchRow measure(at::Device device, at::ScalarType dtype, int64_t tokens, int64_t dim) {
  const auto options = at::TensorOptions().device(device).dtype(dtype);
  at::Tensor x = at::randn({1, tokens, dim}, options);
  const at::Tensor weight = at::ones({dim}, options).mul_(0.99);
  const at::Tensor y = rms_norm(x, weight, 1e-6), expected = rms_norm_reference(x, weight, 1e-6);
  const double worst = (y.to(at::kFloat) - expected.to(at::kFloat)).abs().max().item<double>();
  const double allowed = expected.abs().max().item<double>() * (dtype == at::kFloat ? 1e-5 : 1e-2);
  if (!(worst <= allowed)) fail("rms_norm ", dtype, " is off by ", worst, ", more than ", allowed);
  const double bytes = 2.0 * static_cast<double>(x.nbytes()) + static_cast<double>(weight.nbytes());
  return bench_beside(
      device, rushes::str(tokens, " x ", dim, " ", dtype), bytes, [&] { rms_norm_(x, weight, 1e-6); },
      [&] { at::rms_norm(x, {dim}, weight, 1e-6); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_main(count, words, [](const rushes::BenchOptions& options) {
    std::vector<rushes::BenchRow> rows;
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      // Queries of Wan 1.3B: two latent frames of 480 x 832, of 81 frames, and of Wan 14B.
      rows.push_back(rushes::measure(options.device, dtype, 3120, 1536));
      rows.push_back(rushes::measure(options.device, dtype, 32760, 1536));
      if (options.device.is_cuda()) rows.push_back(rushes::measure(options.device, dtype, 32760, 5120));
    }
    rushes::bench_report("rms_norm", options, rows);
  });
}
