// What the oracle test can't see from outside: chunks, tiles, costs, refusals.
// tests/oracle/test_wan_vae.py holds the numbers to diffusers.

#include "models/vaes/wan_vae.h"
#include "models/vaes/wan_vae_layers.h"

#include <c10/core/InferenceMode.h>

#include <catch2/catch.hpp>

#include "kernels/common/brgemm.h"

#include "unit/models/random_wan_vae.h"

using namespace rushes;
using namespace rushes::test;

namespace {

std::string refusal(const nlohmann::json& change) {
  nlohmann::json config = small_wan_vae(false);
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
  const auto vae = random_vae(small_wan_vae(residual), 1);
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
  const auto vae = random_vae(small_wan_vae(false), 2);
  const at::Tensor z = at::randn({1, 4, 4, 2, 2});
  CHECK(furthest(vae->decode(z.narrow(2, 0, 2), {}), vae->decode(z, {}).narrow(2, 0, 5)) < 1e-5);
  const at::Tensor x = at::rand({1, 3, 12, 9, 11}) * 2 - 1;
  CHECK(furthest(vae->encode(x, {}).mean, vae->encode(x.narrow(2, 0, 9), {}).mean) == 0);
  CHECK(vae->encode(x.narrow(2, 0, 4), {}).mean.sizes() == at::IntArrayRef({1, 4, 1, 2, 2}));
}

TEST_CASE("wan vae: tiles are coded alone and blended") {
  const c10::InferenceMode inference;
  // Small enough never to be clamped, so that a tile can be decoded on its own here.
  const auto vae = random_vae(small_wan_vae(false), 3, 0.05);
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

TEST_CASE("wan vae: tiles are always smaller than the picture, unless that is tiny") {
  const auto sizes = [](int64_t height, int64_t width) -> std::vector<int64_t> {
    const auto tiles = wan_tiles_for(height, width, 8);
    if (!tiles) return {};
    return {tiles->tile_height, tiles->stride_height, tiles->tile_width, tiles->stride_width};
  };
  CHECK(sizes(480, 832) == std::vector<int64_t>{256, 192, 256, 192});  // diffusers' defaults
  CHECK(sizes(480, 256) == std::vector<int64_t>{256, 192, 128, 96});
  CHECK(sizes(256, 256) == std::vector<int64_t>{128, 96, 128, 96});
  CHECK(sizes(64, 40) == std::vector<int64_t>{32, 24, 24, 16});
  CHECK(sizes(64, 16) == std::vector<int64_t>{32, 24, 16, 16});
  CHECK(sizes(24, 16).empty());
}

TEST_CASE("wan vae: a step may ask for tiles, and gets those that suit the picture") {
  const c10::InferenceMode inference;
  const bool residual = GENERATE(false, true);
  const auto vae = random_vae(small_wan_vae(residual), 6);
  StepContext tiles;
  tiles.vae_tiles = true;
  const int64_t unit = vae->spatial_ratio(), patch = vae->config().patch_size;
  const at::Tensor z = at::randn({1, 4, 2, 9, 6});
  const at::Tensor tiled = vae->decode(z, tiles), plain = vae->decode(z, {});
  const at::Tensor x = at::rand({1, 3, 5, 9 * unit, 6 * unit}) * 2 - 1;
  const at::Tensor tiled_mean = vae->encode(x, tiles).mean, plain_mean = vae->encode(x, {}).mean;
  CHECK(tiled.sizes() == plain.sizes());
  CHECK(tiled_mean.sizes() == plain_mean.sizes());
  CHECK(furthest(tiled, plain) > 1e-4);
  CHECK(furthest(tiled_mean, plain_mean) > 1e-4);
  vae->enable_tiling(*wan_tiles_for(9 * unit, 6 * unit, unit));
  CHECK(furthest(vae->decode(z, {}), tiled) == 0);
  if (patch == 1) CHECK(furthest(vae->encode(x, {}).mean, tiled_mean) == 0);
  vae->disable_tiling();
  const at::Tensor tiny = at::randn({1, 4, 2, 3, 3});
  CHECK(furthest(vae->decode(tiny, tiles), vae->decode(tiny, {})) == 0);
}

TEST_CASE("wan vae: costs are those that torch's FLOP counter finds in diffusers") {
  const Cost full_decode = wan_vae_decode_cost(nlohmann::json::object(), 5, 240, 416);
  CHECK(full_decode.flops == 4453121187840.0);
  CHECK(full_decode.weight_bytes == 4 * 126892531.0);
  CHECK(wan_vae_encode_cost(nlohmann::json::object(), 5, 240, 416).flops == 2670037893120.0);
  nlohmann::json config = small_wan_vae(true);
  config.update({{"base_dim", 16}, {"decoder_base_dim", 24}, {"temperal_downsample", {true, false}}});
  CHECK(wan_vae_decode_cost(config, 9, 64, 48).flops == 2271843840.0);
  CHECK(wan_vae_encode_cost(config, 9, 64, 48).flops == 443357184.0);
  CHECK(wan_vae_encode_cost(config, 9, 64, 48).weight_bytes == 4 * 1155928.0);
  config = small_wan_vae(false);
  config["attn_scales"] = {0.5};
  CHECK(wan_vae_decode_cost(config, 9, 32, 48).flops == 379204608.0);
  CHECK(wan_vae_encode_cost(config, 9, 32, 48).flops == 240242688.0);
  CHECK(wan_vae_decode_cost(config, 9, 32, 48).weight_bytes == 4 * 161991.0);
}

TEST_CASE("wan vae: configs that can't be honoured are refused by name") {
  CHECK(refusal(nlohmann::json::object()) == "accepted");
  CHECK_THAT(refusal({{"novel", 1}}), Catch::Contains("novel"));
  CHECK_THAT(refusal({{"z_dim", 5}}), Catch::Contains("latents_mean") && Catch::Contains("latents_std"));
  CHECK_THAT(refusal({{"temperal_downsample", {true}}}), Catch::Contains("temperal_downsample"));
  CHECK_THAT(refusal({{"dim_mult", nlohmann::json::array()}}), Catch::Contains("dim_mult"));
  CHECK_THAT(refusal({{"base_dim", 0}}), Catch::Contains("base_dim"));
  CHECK_THAT(refusal({{"base_dim", 7}, {"dim_mult", {1, 1, 1}}}), Catch::Contains("halved"));
  CHECK_THAT(refusal({{"is_residual", true}, {"dim_mult", {1, 2, 3}}}), Catch::Contains("is_residual"));
  CHECK_THAT(refusal({{"patch_size", 2}}), Catch::Contains("in_channels") && Catch::Contains("out_channels"));
  for (double value : {0.0, -1.0, 1e-60, 1e-39, 1e12, 1e39, 1e300}) {
    INFO(value);
    CHECK_THAT(refusal({{"latents_std", {1.0, 1.0, value, 1.0}}}),
               Catch::StartsWith("vae/config.json: latents_std: must lie between 1e-06 and 1000000, is "));
  }
  for (double value : {-1e300, 1e39}) {
    CHECK_THAT(refusal({{"latents_mean", {0.0, value, 0.0, 0.0}}}),
               Catch::StartsWith("vae/config.json: latents_mean: must lie between -1000000 and 1000000"));
  }
  CHECK(refusal({{"latents_std", {1e-3, 1.0, 1e3, 1.0}}, {"latents_mean", {-50.0, 0.0, 0.0, 1e3}}}) ==
        "accepted");
  CHECK(refusal({{"decoder_base_dim", nullptr},
                 {"patch_size", nullptr},
                 {"dropout", 0.1},
                 {"clip_output", false}}) == "accepted");
}

TEST_CASE("wan vae: inputs that can't be coded are refused") {
  const c10::InferenceMode inference;
  const auto vae = random_vae(small_wan_vae(true), 4);
  CHECK_THROWS_AS(vae->decode(at::zeros({1, 3, 1, 2, 2}), {}), UserError);
  CHECK_THROWS_AS(vae->decode(at::zeros({1, 4, 0, 2, 2}), {}), UserError);
  CHECK_THROWS_AS(vae->encode(at::zeros({1, 3, 1, 12, 16}), {}), UserError);
  CHECK_THROWS_AS(vae->encode(at::zeros({1, 3, 1, 16, 15}), {}), UserError);
  // A last tile of 4 x 8 pixels, which the shortcuts can't halve twice.
  vae->enable_tiling({.tile_height = 16, .tile_width = 16, .stride_height = 10, .stride_width = 16});
  CHECK_THROWS_AS(vae->encode(at::zeros({1, 3, 1, 24, 16}), {}), UserError);
  nlohmann::json config = small_wan_vae(false);
  config.update({{"dim_mult", {1, 1, 1, 1}}, {"temperal_downsample", {true, true, true}}});
  const auto deep = random_vae(config, 5);
  CHECK(deep->encode(at::zeros({1, 3, 4, 8, 8}), {}).mean.size(2) == 1);
  CHECK_THROWS_AS(deep->encode(at::zeros({1, 3, 5, 8, 8}), {}), UserError);
  CHECK(deep->decode(at::zeros({1, 4, 2, 1, 1}), {}).size(2) == 9);
}

TEST_CASE("bfloat16 convolved as float32 is the definition, rounded once", "[models]") {
  at::manual_seed(21);
  using Sizes = std::vector<int64_t>;
  const auto draw = [](at::IntArrayRef shape) { return at::randn(shape).to(at::kBFloat16); };
  for (const auto& [kernel, stride, padding] :
       {std::tuple<Sizes, Sizes, Sizes>{{3, 3, 3}, {1, 1, 1}, {0, 1, 1}},
        {{3, 3, 3}, {1, 1, 1}, {0, 0, 1}},
        {{1, 3, 3}, {1, 2, 2}, {0, 0, 0}},
        {{3, 1, 1}, {2, 1, 1}, {0, 0, 0}},
        {{1, 3, 3}, {1, 1, 1}, {0, 1, 1}}}) {
    for (const auto& [batch, frames, in, out] : {std::tuple{1, 3, 16, 32}, {2, 5, 3, 7}, {2, 7, 24, 3}}) {
      CAPTURE(kernel, stride, padding, batch, frames, in, out);
      const at::Tensor x = draw({batch, frames, 9, 11, in}), bias = draw({out});
      const at::Tensor weight =
          draw({out, in, kernel[0], kernel[1], kernel[2]}).contiguous(at::MemoryFormat::ChannelsLast3d);
      const at::Tensor y = wan_convolve_as_float(x, weight, bias, stride, padding);
      const at::Tensor wide = x.permute({0, 4, 1, 2, 3}).to(at::kDouble);
      const at::Tensor want = at::conv3d(wide, weight.to(at::kDouble), bias.to(at::kDouble), stride, padding)
                                  .permute({0, 2, 3, 4, 1});
      REQUIRE(y.sizes() == want.sizes());
      CHECK((y.is_contiguous() && y.scalar_type() == at::kBFloat16));
      // Half of a bfloat16's last place, and what float32 sums are off by.
      CHECK(at::allclose(y.to(at::kDouble), want, 1.0 / 255, 1e-4));
    }
  }
}

TEST_CASE("a doubled picture is convolved, from the smaller one too", "[models]") {
  const c10::InferenceMode inference;
  at::manual_seed(22);
  for (const auto& [batch, frames, height, width, in, out] :
       {std::tuple{1, 1, 1, 1, 3, 5}, {2, 3, 4, 7, 16, 8}, {1, 2, 5, 1, 6, 32}}) {
    const at::Tensor weight = at::randn({out, in, 3, 3}), bias = at::randn({out}),
                     x = at::randn({batch, frames, height + 2, width, in});
    const TensorStore store = stored({{"up.weight", weight}, {"up.bias", bias}});
    std::vector<std::pair<at::ScalarType, bool>> ways = {
        {at::kFloat, true}, {at::kFloat, false}, {at::kBFloat16, false}};
    if (bfloat16_as_float()) ways.emplace_back(at::kBFloat16, true);
    for (const auto& [dtype, fold] : ways) {
      CAPTURE(batch, frames, height, width, in, out, dtype, fold);
      TensorLoader loader(store, {.dtype = dtype}, "vae");
      const WanDoublingConv up(loader, "up", in, out, fold);
      loader.finish();
      const auto rounded = [&, dtype = dtype](const at::Tensor& a) { return a.to(dtype).to(at::kDouble); };
      const auto expected = [&](const at::Tensor& picture) {
        const at::Tensor twice = at::upsample_nearest2d(rounded(picture).flatten(0, 1).permute({0, 3, 1, 2}),
                                                        {2 * picture.size(2), 2 * width});
        return at::conv2d(twice, rounded(weight), rounded(bias), 1, 1)
            .permute({0, 2, 3, 1})
            .reshape({batch, frames, 2 * picture.size(2), 2 * width, out});
      };
      const double nearest = dtype == at::kFloat ? 1e-6 : 1.0 / 255;
      const double around = dtype == at::kFloat ? std::sqrt(9.0 * in) * 1e-6 : 1e-4;
      const auto check = [&](const at::Tensor& y, const at::Tensor& want) {
        REQUIRE(y.sizes() == want.sizes());
        CHECK(y.is_contiguous());
        CHECK(at::allclose(y.to(at::kDouble), want, nearest, around));
      };
      check(up.forward(x.to(dtype), /*halos=*/false), expected(x));
      check(up.forward(x.to(dtype), /*halos=*/true), expected(x).narrow(2, 2, 2 * height));
    }
  }
}
