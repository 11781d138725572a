// rotary: checked against its definition first, then timed beside ATen's operators and a copy of the same
// bytes.

#include "kernels/rotary/rotary.h"

#include "base/error.h"
#include "kernels/common/bench.h"

namespace rushes {
namespace {

BenchRow measure(at::Device device, at::ScalarType dtype, int64_t tokens, int64_t heads, int64_t dim) {
  const auto floats = at::TensorOptions().device(device).dtype(at::kFloat);
  at::Tensor x = at::randn({1, tokens, heads, dim}, floats.dtype(dtype));
  const at::Tensor angle = at::rand({tokens, dim / 2}, floats).mul_(6.28), cos = angle.cos(),
                   sin = angle.sin();
  const at::Tensor y = rotary(x, cos, sin), expected = rotary_reference(x, cos, sin);
  const double worst = (y.to(at::kFloat) - expected.to(at::kFloat)).abs().max().item<double>();
  const double allowed = expected.abs().max().item<double>() * (dtype == at::kFloat ? 1e-6 : 1e-2);
  if (!(worst <= allowed)) fail("rotary ", dtype, " is off by ", worst, ", more than ", allowed);
  const double bytes = 2.0 * static_cast<double>(x.nbytes()) + 2.0 * static_cast<double>(cos.nbytes());
  return bench_beside(
      device, rushes::str(tokens, " x ", heads, " x ", dim, " ", dtype), bytes, [&] { rotary_(x, cos, sin); },
      [&] { rotary_reference(x, cos, sin); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_main(count, words, [](const rushes::BenchOptions& options) {
    std::vector<rushes::BenchRow> rows;
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      // Queries of Wan 1.3B: two latent frames of 480 x 832, of 81 frames, and of Wan 14B.
      rows.push_back(rushes::measure(options.device, dtype, 3120, 12, 128));
      rows.push_back(rushes::measure(options.device, dtype, 32760, 12, 128));
      if (options.device.is_cuda()) rows.push_back(rushes::measure(options.device, dtype, 32760, 40, 128));
    }
    rushes::bench_report("rotary", options, rows);
  });
}
