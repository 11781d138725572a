// Whole models timed on one device, with invented weights: Wan 2.1's 1.3B transformer and its VAE at
// published sizes. Needs what the tests of kernels need, so that a bare machine with a GPU can run it
// (tools/gpu-check).
//
//   model_bench [--device cpu|cuda] [--threads N] [--json FILE] [--small]
//
// --small: two layers and a picture of 64 x 64, to see that it works.

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "kernels/common/bench.h"
#include "probe/bench.h"

namespace rushes {
namespace {

struct Case {
  std::string name, component;
  Dtype dtype;
  int64_t height, width, num_frames;
};

/// A model folder with configs alone.
std::filesystem::path write_configs(const std::filesystem::path& folder, bool small) {
  const nlohmann::json transformer = {
      {"_class_name", "WanTransformer3DModel"},
      {"attention_head_dim", 128},
      {"cross_attn_norm", true},
      {"ffn_dim", small ? 512 : 8960},
      {"freq_dim", 256},
      {"in_channels", 16},
      {"num_attention_heads", small ? 2 : 12},
      {"num_layers", small ? 2 : 30},
      {"out_channels", 16},
      {"patch_size", {1, 2, 2}},
      {"qk_norm", "rms_norm_across_heads"},
      {"text_dim", small ? 256 : 4096},
  };
  nlohmann::json vae = {{"_class_name", "AutoencoderKLWan"}};  // diffusers' defaults are Wan 2.1's
  if (small) vae["base_dim"] = 16;
  const nlohmann::json index = {{"_class_name", "WanPipeline"},
                                {"transformer", {"diffusers", "WanTransformer3DModel"}},
                                {"vae", {"diffusers", "AutoencoderKLWan"}}};
  for (const auto& [name, config] : {std::pair{"transformer", transformer}, {"vae", vae}}) {
    std::filesystem::create_directories(folder / name);
    std::ofstream(folder / name / "config.json") << config;
  }
  std::ofstream(folder / "model_index.json") << index;
  return folder;
}

nlohmann::json run(const Case& one, const std::filesystem::path& model, at::Device device) {
  const BenchRequest request{.model = model,
                             .component = one.component,
                             .device = device,
                             .dtype = one.dtype,
                             .invent_weights = true,
                             .height = one.height,
                             .width = one.width,
                             .num_frames = one.num_frames};
  const BenchResult result = run_bench(request);
  std::printf("%-44s %10.4f s %8.1f TFLOP/s %7.2f GiB\n", one.name.c_str(), result.median(),
              result.flops / result.median() / 1e12, result.peak_bytes / 0x1p30);
  std::fflush(stdout);
  return {{"name", one.name},
          {"seconds", result.seconds},
          {"median_s", result.median()},
          {"flops", result.flops},
          {"peak_bytes", result.peak_bytes},
          {"dtype", dtype_name(one.dtype)},
          {"height", one.height},
          {"width", one.width},
          {"num_frames", one.num_frames},
          {"flops_per_s", result.flops / result.median()}};
}

std::vector<Case> cases(bool small) {
  if (small)
    return {{"transformer, 2 layers, bfloat16", "transformer", Dtype::bfloat16, 64, 64, 5},
            {"VAE decode, base 16, float32", "vae", Dtype::float32, 64, 64, 5}};
  return {{"1.3B transformer, 480 x 832 x 5, bfloat16", "transformer", Dtype::bfloat16, 480, 832, 5},
          {"1.3B transformer, 480 x 832 x 81, bfloat16", "transformer", Dtype::bfloat16, 480, 832, 81},
          {"VAE decode, 480 x 832 x 21, bfloat16", "vae", Dtype::bfloat16, 480, 832, 21},
          {"VAE decode, 480 x 832 x 21, float32", "vae", Dtype::float32, 480, 832, 21}};
}

}  // namespace
}  // namespace rushes

int main(int count, char** words) {
  bool small = false;
  std::vector<char*> others;
  for (int i = 0; i < count; ++i) {
    if (std::string(words[i]) == "--small")
      small = true;
    else
      others.push_back(words[i]);
  }
  return rushes::bench_main(
      static_cast<int>(others.size()), others.data(), [&](const rushes::BenchOptions& options) {
        const auto folder =
            std::filesystem::temp_directory_path() / rushes::str("rushes-model-bench-", getpid());
        nlohmann::json rows = nlohmann::json::array();
        for (const rushes::Case& one : rushes::cases(small))
          rows.push_back(rushes::run(one, rushes::write_configs(folder, small), options.device));
        std::filesystem::remove_all(folder);
        if (!options.json.empty()) {
          nlohmann::json report = rushes::bench_origin(options);
          report["cases"] = rows;
          std::ofstream(options.json) << report.dump(1) << "\n";
        }
      });
}
