// What the oracle test can't see from outside: chunks, tiles, costs, refusals.
// tests/oracle/test_wan_vae.py holds the numbers to diffusers.

#include "models/vaes/wan_vae.h"

#include <unistd.h>

#include <c10/core/InferenceMode.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

using namespace rushes;
using nlohmann::json;

namespace {

/// Names and shapes of a VAE's parameters as diffusers' modules have them.
class Parameters {
 public:
  explicit Parameters(const WanVaeConfig& c) {
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
    conv("encoder.conv_in", c.in_channels, in, {3, 3, 3});
    for (int64_t i = 0; i < c.levels(); ++i) {
      const std::string level = "encoder.down_blocks." + std::to_string(i);
      const auto next = [&] { return "encoder.down_blocks." + std::to_string(flat++); };
      const int64_t out = c.base_dim * c.dim_mult[static_cast<size_t>(i)];
      for (int64_t j = 0; j < c.num_res_blocks; ++j) {
        block(c.is_residual ? level + ".resnets." + std::to_string(j) : next(), in, out);
        in = out;
      }
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

json small(bool residual) {
  json config = {{"base_dim", 8},
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

std::unique_ptr<WanVae> random_vae(const json& config, int64_t seed, double output_scale = 1) {
  at::manual_seed(static_cast<uint64_t>(seed));
  Parameters parameters(parse_wan_vae(config, "vae"));
  for (const char* name : {"decoder.conv_out.weight", "decoder.conv_out.bias"})
    parameters.tensors[name] *= output_scale;
  const auto path = std::filesystem::temp_directory_path() /
                    ("rushes-wan-vae-test-" + std::to_string(::getpid()) + ".safetensors");
  write_safetensors(path, parameters.tensors, {}, "test");
  const TensorStore store = TensorStore::open_file(path);
  std::filesystem::remove(path);
  TensorLoader loader(store, {}, "vae");
  auto vae = make_wan_vae(config, loader, "vae");
  return std::unique_ptr<WanVae>(dynamic_cast<WanVae*>(vae.release()));
}

double furthest(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return (a - b).abs().max().item<double>();
}

std::string refusal(const json& change) {
  json config = small(false);
  config.update(change);
  try {
    parse_wan_vae(config, "vae/config.json");
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("wan vae: the result does not depend on the chunks") {
  const c10::InferenceMode inference;
  const bool residual = GENERATE(false, true);
  const auto vae = random_vae(small(residual), 1);
  const at::Tensor z = at::randn({2, 4, 5, 3, 4});
  const at::Tensor x = at::rand({2, 3, 17, 16, 24}) * 2 - 1;
  const at::Tensor whole = vae->decode(z, {});
  const LatentDistribution latents = vae->encode(x, {});
  CHECK(whole.sizes() == at::IntArrayRef({2, 3, 17, residual ? 24 : 12, residual ? 32 : 16}));
  CHECK(latents.mean.size(2) == 5);
  // One frame at a time, then two.
  const WanVaeConfig& c = vae->config();
  const int64_t one = wan_vae_chunk(c, int64_t{1} << 30, true, 2, 3, 4, 4);
  for (int64_t bytes : {int64_t{1}, (int64_t{1} << 30) / one * 2 + 1}) {
    vae->set_chunk_bytes(bytes);
    CHECK(furthest(vae->decode(z, {}), whole) < 1e-5);
    const LatentDistribution again = vae->encode(x, {});
    CHECK(furthest(again.mean, latents.mean) < 1e-5);
    CHECK(furthest(again.logvar, latents.logvar) < 1e-5);
  }
}

TEST_CASE("wan vae: causal, and frames after the last whole group are dropped") {
  const c10::InferenceMode inference;
  const auto vae = random_vae(small(false), 2);
  const at::Tensor z = at::randn({1, 4, 4, 2, 2});
  CHECK(furthest(vae->decode(z.narrow(2, 0, 2), {}), vae->decode(z, {}).narrow(2, 0, 5)) < 1e-5);
  const at::Tensor x = at::rand({1, 3, 12, 9, 11}) * 2 - 1;
  CHECK(furthest(vae->encode(x, {}).mean, vae->encode(x.narrow(2, 0, 9), {}).mean) == 0);
  CHECK(vae->encode(x.narrow(2, 0, 4), {}).mean.sizes() == at::IntArrayRef({1, 4, 1, 2, 2}));
}

TEST_CASE("wan vae: tiles are coded alone and blended") {
  const c10::InferenceMode inference;
  // Small enough never to be clamped, so that a tile can be decoded on its own here.
  const auto vae = random_vae(small(false), 3, 0.05);
  const at::Tensor z = at::randn({1, 4, 2, 7, 4});
  const at::Tensor plain = vae->decode(z, {});
  vae->enable_tiling({.tile_height = 28, .tile_width = 16, .stride_height = 28, .stride_width = 16});
  CHECK(furthest(vae->decode(z, {}), plain) == 0);
  // Tiles of 3 latent rows every 2 rows: 4 of 12 pixels overlap.
  vae->enable_tiling({.tile_height = 12, .tile_width = 16, .stride_height = 8, .stride_width = 16});
  const at::Tensor tiled = vae->decode(z, {});
  vae->disable_tiling();
  at::Tensor want = at::empty_like(plain), above;
  for (int64_t row = 0; row < 7; row += 2) {
    const at::Tensor tile = vae->decode(z.slice(3, row, row + 3), {}).clone();
    for (int64_t y = 0; y < 4 && above.defined(); ++y) {
      const double own = static_cast<double>(y) / 4;
      if (y < tile.size(3)) {
        const int64_t from = above.size(3) - 4 + y;
        tile.select(3, y).copy_(above.select(3, from) * (1 - own) + tile.select(3, y) * own);
      }
    }
    const int64_t kept = std::min<int64_t>(8, tile.size(3));
    want.slice(3, row * 4, row * 4 + kept).copy_(tile.slice(3, 0, kept));
    above = tile;
  }
  CHECK(furthest(tiled, want) < 1e-6);
  CHECK(furthest(tiled, plain) > 1e-4);
  CHECK_THROWS_AS(vae->enable_tiling({.tile_height = 3}), UserError);
}

TEST_CASE("wan vae: costs are those that torch's FLOP counter finds in diffusers") {
  const Cost full_decode = wan_vae_decode_cost(json::object(), 5, 240, 416);
  CHECK(full_decode.flops == 4453121187840.0);
  CHECK(full_decode.weight_bytes == 4 * 126892531.0);
  CHECK(wan_vae_encode_cost(json::object(), 5, 240, 416).flops == 2670037893120.0);
  json config = small(true);
  config.update({{"base_dim", 16}, {"decoder_base_dim", 24}, {"temperal_downsample", {true, false}}});
  CHECK(wan_vae_decode_cost(config, 9, 64, 48).flops == 2271843840.0);
  CHECK(wan_vae_encode_cost(config, 9, 64, 48).flops == 443357184.0);
  CHECK(wan_vae_encode_cost(config, 9, 64, 48).weight_bytes == 4 * 1155928.0);
  config = small(false);
  config["attn_scales"] = {0.5};
  CHECK(wan_vae_decode_cost(config, 9, 32, 48).flops == 379204608.0);
  CHECK(wan_vae_encode_cost(config, 9, 32, 48).flops == 240242688.0);
  CHECK(wan_vae_decode_cost(config, 9, 32, 48).weight_bytes == 4 * 161991.0);
}

TEST_CASE("wan vae: configs that can't be honoured are refused by name") {
  CHECK(refusal(json::object()) == "accepted");
  CHECK_THAT(refusal({{"novel", 1}}), Catch::Contains("novel"));
  CHECK_THAT(refusal({{"z_dim", 5}}), Catch::Contains("latents_mean") && Catch::Contains("latents_std"));
  CHECK_THAT(refusal({{"temperal_downsample", {true}}}), Catch::Contains("temperal_downsample"));
  CHECK_THAT(refusal({{"dim_mult", json::array()}}), Catch::Contains("dim_mult"));
  CHECK_THAT(refusal({{"base_dim", 0}}), Catch::Contains("base_dim"));
  CHECK_THAT(refusal({{"base_dim", 7}, {"dim_mult", {1, 1, 1}}}), Catch::Contains("halved"));
  CHECK_THAT(refusal({{"is_residual", true}, {"dim_mult", {1, 2, 3}}}), Catch::Contains("is_residual"));
  CHECK_THAT(refusal({{"patch_size", 2}}), Catch::Contains("in_channels") && Catch::Contains("out_channels"));
  CHECK_THAT(refusal({{"latents_std", {1.0, 1.0, 0.0, 1.0}}}), Catch::Contains("latents_std"));
  CHECK(refusal({{"decoder_base_dim", nullptr},
                 {"patch_size", nullptr},
                 {"dropout", 0.1},
                 {"clip_output", false}}) == "accepted");
}

TEST_CASE("wan vae: inputs that can't be coded are refused") {
  const c10::InferenceMode inference;
  const auto vae = random_vae(small(true), 4);
  CHECK_THROWS_AS(vae->decode(at::zeros({1, 3, 1, 2, 2}), {}), UserError);
  CHECK_THROWS_AS(vae->decode(at::zeros({1, 4, 0, 2, 2}), {}), UserError);
  CHECK_THROWS_AS(vae->encode(at::zeros({1, 3, 1, 12, 16}), {}), UserError);
  CHECK_THROWS_AS(vae->encode(at::zeros({1, 3, 1, 16, 15}), {}), UserError);
  // A last tile of 4 x 8 pixels, which the shortcuts can't halve twice.
  vae->enable_tiling({.tile_height = 16, .tile_width = 16, .stride_height = 10, .stride_width = 16});
  CHECK_THROWS_AS(vae->encode(at::zeros({1, 3, 1, 24, 16}), {}), UserError);
  json config = small(false);
  config.update({{"dim_mult", {1, 1, 1, 1}}, {"temperal_downsample", {true, true, true}}});
  const auto deep = random_vae(config, 5);
  CHECK(deep->encode(at::zeros({1, 3, 4, 8, 8}), {}).mean.size(2) == 1);
  CHECK_THROWS_AS(deep->encode(at::zeros({1, 3, 5, 8, 8}), {}), UserError);
  CHECK(deep->decode(at::zeros({1, 4, 2, 1, 1}), {}).size(2) == 9);
}
