#pragma once
// What a forward pass needs to know beside its tensors; passed by reference through every model.

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

namespace rushes {

/// One line of `probe --trace`: a layer's output in figures, taken in float64 (std over the whole tensor,
/// divided by n; all zero for an empty one).
struct TraceRow {
  std::string layer;
  std::vector<int64_t> shape;
  std::string dtype;
  double mean = 0, std = 0, min = 0, max = 0, l2 = 0;
};

/// Collects per-layer summaries while a model runs; absent in ordinary runs.
class Trace {
 public:
  void add(const std::string& layer, const at::Tensor& output);
  const std::vector<TraceRow>& rows() const { return rows_; }

 private:
  std::vector<TraceRow> rows_;
};

/// Who computes attention: `reference` is a plain softmax in float32 (float64 for float64 inputs), `sdpa` is
/// ATen's scaled_dot_product_attention, `automatic` picks the fastest that can (today always sdpa).
enum class AttentionBackend { automatic, reference, sdpa };

struct StepContext {
  int64_t step = 0;  // denoising step, from 0
  AttentionBackend attention = AttentionBackend::automatic;
  Trace* trace = nullptr;

  /// Records `output` if someone listens.
  void note(const std::string& layer, const at::Tensor& output) const {
    if (trace != nullptr) trace->add(layer, output);
  }
};

}  // namespace rushes
