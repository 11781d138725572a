// linear: checked against its definition first, then timed beside ATen's.

#include "base/error.h"
#include "kernels/common/bench.h"
#include "kernels/linear/linear.h"

namespace rushes {
namespace {

BenchRow measure(at::Device device, at::ScalarType dtype, int64_t rows, int64_t in, int64_t out) {
  const auto options = at::TensorOptions().device(device).dtype(dtype);
  const at::Tensor x = at::randn({rows, in}, options), bias = at::randn({out}, options);
  const at::Tensor weight = at::randn({out, in}, options).mul_(0.02);
  const LinearWeight packed(weight);
  const at::Tensor y = linear(x, packed, bias), expected = linear_reference(x, weight, bias);
  const double worst = (y.to(at::kFloat) - expected.to(at::kFloat)).abs().max().item<double>();
  const double allowed = expected.abs().max().item<double>() * (dtype == at::kFloat ? 1e-5 : 1e-2);
  if (!(worst <= allowed)) fail("linear ", dtype, " is off by ", worst, ", more than ", allowed);
  const double bytes = static_cast<double>(x.nbytes() + weight.nbytes() + y.nbytes());
  return bench_beside(
      device, rushes::str(rows, " x ", in, " -> ", out, " ", dtype), bytes, [&] { linear(x, packed, bias); },
      [&] { linear_reference(x, weight, bias); });
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  return rushes::bench_main(count, words, [](const rushes::BenchOptions& options) {
    std::vector<rushes::BenchRow> rows;
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      // A short text, and Wan 1.3B's feed-forward over two latent frames of 480 x 832.
      rows.push_back(rushes::measure(options.device, dtype, 20, 1536, 1536));
      rows.push_back(rushes::measure(options.device, dtype, 3120, 1536, 1536));
      rows.push_back(rushes::measure(options.device, dtype, 3120, 1536, 8960));
    }
    rushes::bench_report("linear", options, rows);
  });
}
