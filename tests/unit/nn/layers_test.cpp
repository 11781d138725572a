#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "base/error.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/patch.h"
#include "support/folder.h"

namespace rushes {
namespace {

// Tensors in a file, and a loader over it.
class Stored {
 public:
  explicit Stored(const std::map<std::string, at::Tensor>& tensors, at::ScalarType dtype = at::kFloat)
      : store_([&] {
          write_safetensors(folder_ / "t.safetensors", tensors, {}, "test");
          return TensorStore::open_file(folder_ / "t.safetensors");
        }()),
        loader(store_, {.device = at::kCPU, .dtype = dtype}, "test") {}

 private:
  TestFolder folder_;
  TensorStore store_;

 public:
  TensorLoader loader;
};

double worst(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST_CASE("layer norm is its definition, in 16 bits rounded once") {
  at::manual_seed(41);
  const at::Tensor x = at::randn({3, 4, 37}).mul_(5).add_(2), weight = at::randn({37}),
                   bias = at::randn({37});
  const auto definition = [&](const at::Tensor& of) {
    const at::Tensor wide = of.to(at::kDouble), centred = wide - wide.mean(-1, true);
    return centred / (centred.square().mean(-1, true) + 1e-5).sqrt();
  };
  CHECK(worst(LayerNorm(37, 1e-5).forward(x), definition(x)) < 1e-5);
  Stored stored({{"n.weight", weight}, {"n.bias", bias}}, at::kBFloat16);
  const LayerNorm kept(stored.loader, "n", 37, 1e-5, at::kFloat), rounded(stored.loader, "n", 37, 1e-5);
  stored.loader.finish();
  CHECK(worst(kept.forward(x), definition(x) * weight + bias) < 1e-5);
  const at::Tensor narrow = x.to(at::kBFloat16);
  const at::Tensor expected = definition(narrow) * weight.to(at::kBFloat16) + bias.to(at::kBFloat16);
  CHECK(rounded.forward(narrow).scalar_type() == at::kBFloat16);
  CHECK(worst(rounded.forward(narrow), expected) < 0.004 * expected.abs().max().item<double>());
  CHECK_THROWS_AS(kept.forward(at::ones({2, 36})), InternalError);
}

TEST_CASE("RMS norm follows either reference, in place too") {
  at::manual_seed(42);
  const at::Tensor weight = at::randn({24}), x = at::randn({5, 24});
  Stored stored({{"n.weight", weight}}, at::kHalf);
  const RmsNorm t5(stored.loader, "n", 24, 1e-6, RmsNormRounding::before_weight);
  const RmsNorm torchs(stored.loader, "n", 24, 1e-6, RmsNormRounding::after_weight);
  CHECK(t5.forward(x).scalar_type() == at::kHalf);
  CHECK(torchs.forward(x).scalar_type() == at::kFloat);
  const at::Tensor half = x.to(at::kHalf), copy = half.clone();
  torchs.forward_(copy);
  CHECK(at::equal(copy, torchs.forward(half)));
  CHECK(worst(copy, rms_norm_reference(x, weight, 1e-6)) < 0.01);
}

TEST_CASE("embedding takes rows, and names an id that is none") {
  at::manual_seed(43);
  const at::Tensor table = at::randn({7, 3});
  Stored stored({{"e.weight", table}});
  const Embedding embedding(stored.loader, "e", 7, 3);
  const at::Tensor ids = at::tensor({6, 0, 3, 3}, at::kLong).view({2, 2});
  CHECK(at::equal(embedding.forward(ids), table.index_select(0, ids.flatten()).view({2, 2, 3})));
  CHECK(embedding.forward(at::empty({0}, at::kLong)).sizes() == at::IntArrayRef({0, 3}));
  CHECK_THROWS_WITH(embedding.forward(at::tensor({1, 7}, at::kLong)), Catch::Contains("id 7"));
  CHECK_THROWS_WITH(embedding.forward(at::tensor({-1}, at::kLong)), Catch::Contains("id -1"));
}

TEST_CASE("timesteps become sines and cosines") {
  const at::Tensor times = at::tensor({0.0, 17.5, 999.0});
  const at::Tensor whole = timestep_embedding(times, 9);
  REQUIRE(whole.sizes() == at::IntArrayRef({3, 9}));
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = times[t].item<double>() * std::pow(10000.0, -static_cast<double>(i) / 4);
      CHECK(whole[t][i].item<double>() == Approx(std::cos(angle)).margin(1e-4));
      CHECK(whole[t][i + 4].item<double>() == Approx(std::sin(angle)).margin(1e-4));
    }
    CHECK(whole[t][8].item<double>() == 0);
  }
  const at::Tensor other = timestep_embedding(
      times.to(at::kDouble), 8,
      {.flip_sin_to_cos = false, .downscale_freq_shift = 1, .scale = 0.5, .max_period = 100});
  const double angle = 0.5 * 17.5 * std::pow(100.0, -2.0 / 3);
  CHECK(other[1][2].item<double>() == Approx(std::sin(angle)).margin(1e-5));
  CHECK(other[1][6].item<double>() == Approx(std::cos(angle)).margin(1e-5));
}

TEST_CASE("patches are a convolution, and come apart as they went together") {
  at::manual_seed(44);
  const at::Tensor weight = at::randn({6, 3, 2, 1, 4}), bias = at::randn({6}), x = at::randn({2, 3, 4, 5, 8});
  Stored stored({{"p.weight", weight}, {"p.bias", bias}});
  const PatchEmbed3d embed(stored.loader, "p", 3, 6, {2, 1, 4});
  stored.loader.finish();
  const at::Tensor by_convolution =
      at::conv3d(x, weight, bias, /*stride=*/{2, 1, 4}).flatten(2).transpose(1, 2);
  CHECK(worst(embed.forward(x), by_convolution) < 1e-5);
  CHECK_THROWS_AS(embed.forward(at::ones({1, 3, 3, 5, 8})), InternalError);

  // A video of distinct numbers, cut by hand: patch (f, r, c), inside it (frame, row, column, channel).
  const at::Tensor video = at::arange(2 * 3 * 4 * 5 * 8, at::kFloat).view({2, 3, 4, 5, 8});
  at::Tensor tokens = at::empty({2, 2 * 5 * 2, 2 * 1 * 4 * 3});
  for (int64_t f = 0; f < 2; ++f) {
    for (int64_t r = 0; r < 5; ++r) {
      for (int64_t c = 0; c < 2; ++c) {
        const at::Tensor block = video.narrow(2, 2 * f, 2).narrow(3, r, 1).narrow(4, 4 * c, 4);
        tokens.select(1, (f * 5 + r) * 2 + c).copy_(block.permute({0, 2, 3, 4, 1}).flatten(1));
      }
    }
  }
  CHECK(at::equal(unpatchify(tokens, {2, 5, 2}, {2, 1, 4}), video));
}

TEST_CASE("a dense layer casts to its own dtype") {
  at::manual_seed(45);
  const at::Tensor weight = at::randn({4, 6}), bias = at::randn({4}), x = at::randn({2, 3, 6});
  Stored stored({{"l.weight", weight}, {"l.bias", bias}, {"m.weight", weight}}, at::kBFloat16);
  const Linear kept(stored.loader, "l", 6, 4, /*bias=*/true, at::kFloat),
      narrow(stored.loader, "m", 6, 4, /*bias=*/false);
  CHECK(worst(kept.forward(x), at::matmul(x, weight.t()) + bias) < 1e-5);
  CHECK(narrow.forward(x).scalar_type() == at::kBFloat16);
  CHECK(worst(narrow.forward(x), at::matmul(x, weight.t())) < 0.1);
}

}  // namespace
}  // namespace rushes
