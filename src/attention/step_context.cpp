#include "attention/step_context.h"

namespace rushes {

void Trace::add(const std::string& layer, const at::Tensor& output) {
  TraceRow row;
  row.layer = layer;
  row.shape = output.sizes().vec();
  row.dtype = c10::toString(output.scalar_type());
  if (output.numel() > 0) {
    const at::Tensor values = output.to(at::kCPU, at::kDouble);
    row.mean = values.mean().item<double>();
    row.std = (values - row.mean).square_().mean().sqrt_().item<double>();
    row.min = values.min().item<double>();
    row.max = values.max().item<double>();
    row.l2 = values.square().sum().sqrt_().item<double>();
  }
  rows_.push_back(std::move(row));
}

}  // namespace rushes
