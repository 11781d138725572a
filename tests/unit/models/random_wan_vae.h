#pragma once
// A VAE with random values in all parameters.

#include "models/vaes/wan_vae.h"  // before Catch: torch has a CHECK too

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace rushes::test {

/// Random values by the names and shapes of a VAE's parameters as diffusers' modules have them.
class WanVaeParameters {
 public:
  explicit WanVaeParameters(const WanVaeConfig& c) {
    encoder(c);
    decoder(c);
    conv("quant_conv", 2 * c.z_dim, 2 * c.z_dim, {1, 1, 1});
    conv("post_quant_conv", c.z_dim, c.z_dim, {1, 1, 1});
  }
  std::map<std::string, at::Tensor> tensors;

 private:
  void conv(const std::string& name, int64_t in, int64_t out, std::vector<int64_t> kernel) {
    std::vector<int64_t> shape = {out, in};
    double taps = static_cast<double>(in);
    for (int64_t k : kernel) {
      shape.push_back(k);
      taps *= static_cast<double>(k);
    }
    tensors[name + ".weight"] = at::randn(shape) / std::sqrt(taps);
    tensors[name + ".bias"] = at::randn({out}) * 0.2;
  }
  void norm(const std::string& name, std::vector<int64_t> shape) {
    tensors[name + ".gamma"] = at::randn(shape) * 0.2 + 1;
  }
  void block(const std::string& name, int64_t in, int64_t out) {
    norm(name + ".norm1", {in, 1, 1, 1});
    conv(name + ".conv1", in, out, {3, 3, 3});
    norm(name + ".norm2", {out, 1, 1, 1});
    conv(name + ".conv2", out, out, {3, 3, 3});
    if (in != out) conv(name + ".conv_shortcut", in, out, {1, 1, 1});
  }
  void attention(const std::string& name, int64_t c) {
    norm(name + ".norm", {c, 1, 1});
    conv(name + ".to_qkv", c, 3 * c, {1, 1});
    conv(name + ".proj", c, c, {1, 1});
  }
  void middle(const std::string& name, int64_t c) {
    block(name + ".resnets.0", c, c);
    attention(name + ".attentions.0", c);
    block(name + ".resnets.1", c, c);
  }
  void encoder(const WanVaeConfig& c) {
    int64_t in = c.base_dim, flat = 0;
    double scale = 1;
    conv("encoder.conv_in", c.in_channels, in, {3, 3, 3});
    for (int64_t i = 0; i < c.levels(); ++i) {
      const std::string level = "encoder.down_blocks." + std::to_string(i);
      const auto next = [&] { return "encoder.down_blocks." + std::to_string(flat++); };
      const int64_t out = c.base_dim * c.dim_mult[static_cast<size_t>(i)];
      for (int64_t j = 0; j < c.num_res_blocks; ++j) {
        block(c.is_residual ? level + ".resnets." + std::to_string(j) : next(), in, out);
        in = out;
        const bool attends =
            std::find(c.attn_scales.begin(), c.attn_scales.end(), scale) != c.attn_scales.end();
        if (attends && !c.is_residual) attention(next(), in);
      }
      scale /= 2;
      if (i == c.levels() - 1) break;
      const std::string down = c.is_residual ? level + ".downsampler" : next();
      conv(down + ".resample.1", out, out, {3, 3});
      if (c.temporal_downsample[static_cast<size_t>(i)]) conv(down + ".time_conv", out, out, {3, 1, 1});
    }
    middle("encoder.mid_block", in);
    norm("encoder.norm_out", {in, 1, 1, 1});
    conv("encoder.conv_out", in, 2 * c.z_dim, {3, 3, 3});
  }
  void decoder(const WanVaeConfig& c) {
    int64_t in = c.decoder_base_dim * c.dim_mult.back();
    conv("decoder.conv_in", c.z_dim, in, {3, 3, 3});
    middle("decoder.mid_block", in);
    for (int64_t i = 0; i < c.levels(); ++i) {
      const std::string level = "decoder.up_blocks." + std::to_string(i);
      const int64_t out = c.decoder_base_dim * c.dim_mult[static_cast<size_t>(c.levels() - 1 - i)];
      for (int64_t j = 0; j <= c.num_res_blocks; ++j) {
        block(level + ".resnets." + std::to_string(j), in, out);
        in = out;
      }
      if (i == c.levels() - 1) break;
      const std::string up = level + (c.is_residual ? ".upsampler" : ".upsamplers.0");
      in = c.is_residual ? out : out / 2;
      conv(up + ".resample.1", out, in, {3, 3});
      if (c.temporal_downsample[static_cast<size_t>(c.levels() - 2 - i)])
        conv(up + ".time_conv", out, 2 * out, {3, 1, 1});
    }
    norm("decoder.norm_out", {in, 1, 1, 1});
    conv("decoder.conv_out", in, c.out_channels, {3, 3, 3});
  }
};

inline nlohmann::json small_wan_vae(bool residual) {
  nlohmann::json config = {{"base_dim", 8},
                           {"z_dim", 4},
                           {"dim_mult", {1, 2, 2}},
                           {"num_res_blocks", 1},
                           {"temperal_downsample", {true, true}},
                           {"is_residual", residual},
                           {"scale_factor_spatial", residual ? 8 : 4},
                           {"latents_mean", {0.0, 0.1, 0.2, 0.3}},
                           {"latents_std", {1.0, 2.0, 3.0, 4.0}}};
  if (residual) config.update({{"patch_size", 2}, {"in_channels", 12}, {"out_channels", 12}});
  return config;
}

/// As they come from a file.
inline TensorStore stored(const std::map<std::string, at::Tensor>& tensors) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("rushes-wan-vae-test-" + std::to_string(::getpid()) + ".safetensors");
  write_safetensors(path, tensors, {}, "test");
  TensorStore store = TensorStore::open_file(path);
  std::filesystem::remove(path);
  return store;
}

/// output_scale: of what the decoder gives, so that nothing of it is clamped.
inline std::unique_ptr<WanVae> random_vae(const nlohmann::json& config, int64_t seed, double output_scale = 1,
                                          at::ScalarType dtype = at::kFloat) {
  at::manual_seed(static_cast<uint64_t>(seed));
  WanVaeParameters parameters(parse_wan_vae(config, "vae"));
  for (const char* name : {"decoder.conv_out.weight", "decoder.conv_out.bias"})
    parameters.tensors[name] *= output_scale;
  const TensorStore store = stored(parameters.tensors);
  TensorLoader loader(store, {.dtype = dtype}, "vae");
  auto vae = make_wan_vae(config, loader, "vae");
  return std::unique_ptr<WanVae>(dynamic_cast<WanVae*>(vae.release()));
}

inline double furthest(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return (a - b).abs().max().item<double>();
}

}  // namespace rushes::test
