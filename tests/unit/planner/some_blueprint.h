#pragma once
// Wan 2.1's 1.3B model as a blueprint without files, and a cluster with round figures.

#include "base/error.h"
#include "dist/traffic.h"
#include "models/dits/wan_cost.h"
#include "models/encoders/umt5.h"
#include "models/vaes/wan_vae_config.h"
#include "planner/planner.h"

namespace rushes {

class SomeBlueprint : public Blueprint {
 public:
  SomeBlueprint() {
    wan_.num_attention_heads = 12;
    wan_.ffn_dim = 8960;
    wan_.num_layers = 30;
    text_.vocab_size = 256384;
    text_.d_model = 4096;
    text_.d_kv = 64;
    text_.d_ff = 10240;
    text_.num_layers = 24;
    text_.num_heads = 64;
    text_.relative_attention_num_buckets = 32;
    text_.gated = true;
    vae_ = parse_wan_vae(nlohmann::json::object(), "vae");
  }
  const std::string& pipeline_class() const override { return name_; }
  const std::vector<std::string>& sampling_keys() const override { return keys_; }
  void check(const Sampling&, const std::string&, Problems&) const override {}
  void check_text(const std::string&, const Sampling&, const std::string&, Problems&) const override {}
  ItemCost cost(const Sampling&, const PipelineOptions&) const override { return {}; }
  ClipLoad cost(const Sampling& s, const PipelineOptions&, const Split& split) const override {
    const bool guided = s.guidance_scale > 1;
    const WanClip clip{1 + (s.num_frames - 1) / 4,
                       s.height / 8,
                       s.width / 8,
                       s.max_sequence_length,
                       s.num_inference_steps,
                       guided,
                       2};
    Load text = umt5_load(text_, s.max_sequence_length, split, 2);
    return {{"text encoding", Dtype::bfloat16, text, false},
            {"denoising", Dtype::bfloat16, wan_denoising_load(wan_, clip, split), false},
            {"decoding", Dtype::float32,
             wan_vae_decode_load(vae_, {s.num_frames, s.height, s.width, 4}, split), true}};
  }
  std::unique_ptr<Pipeline> load(const PipelineOptions&) const override {
    throw InternalError("no weights here");
  }

  const WanConfig& wan() const { return wan_; }

 private:
  WanConfig wan_;
  WanVaeConfig vae_;
  T5Config text_;
  std::string name_ = "SomePipeline";
  std::vector<std::string> keys_;
};

inline Cluster some_cluster() {
  Cluster c;
  c.name = "some GPU";
  c.device = DeviceKind::cuda;
  c.ranks_per_node = 8;
  c.memory_bytes = 80e9;
  c.memory_bytes_per_second = 2e12;
  c.runtime_bytes = 1e9;
  c.host_load_bytes_per_second = 1e12;
  c.call_seconds = 1e-6;
  c.step_seconds = 1e-4;
  c.peak = {50e12, 1000e12, 1000e12};
  c.matmul = c.attention = c.convolution = {0.5, 0.5, 0.5};
  c.node = {400e9, 1e-5};
  c.network = {40e9, 2e-5};
  return c;
}

inline ClipGroup clips_of(int64_t count, int64_t frames = 81, double guidance = 5) {
  Sampling s;
  s.num_frames = frames;
  s.guidance_scale = guidance;
  return {s, count};
}

}  // namespace rushes
