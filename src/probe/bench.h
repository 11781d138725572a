#pragma once
// Times one component of a model folder on inputs made up for a clip's size: what `tools/bench` and
// `tools/gpu-check` hold beside the peers' figures and beside the machine's own rate.

#include <filesystem>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "config/settings.h"

namespace rushes {

struct BenchRequest {
  std::filesystem::path model;
  std::string component;  // a key of model_index.json: a transformer (one forward) or a VAE (one decode)
  at::Device device = at::kCPU;
  Dtype dtype = Dtype::float32;
  bool invent_weights = false;  // parameters are random numbers: only the configs are read
  int64_t height = 480;         // pixels of the clip
  int64_t width = 832;
  int64_t num_frames = 81;
  int64_t text_tokens = 512;  // of a transformer's prompt
  int64_t repeat = 3;         // timed calls, after one that is not
};

struct BenchResult {
  std::vector<double> seconds;  // of each timed call
  double flops = 0;             // of one call
  double peak_bytes = 0;  // resident memory of the process at its most; on CUDA the device memory allocated

  double median() const;
};

/// Throws UserError for a component that cannot be timed or a size that it cannot take.
BenchResult run_bench(const BenchRequest& request);

}  // namespace rushes
