// layer_norm, gated_add and gelu: their definitions over device, dtype, odd sizes and views.
#include "kernels/layer_norm/layer_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <limits>

#include "base/error.h"
#include "kernels/gated_add/gated_add.h"
#include "kernels/gelu/gelu.h"
#include "support/devices.h"

namespace rushes {
namespace {

// |error| / max(1, |y|): one rounding to the format, or float32's sums.
struct Format {
  at::ScalarType dtype;
  double tolerance;
};
const std::vector<Format> kFormats = {{at::kFloat, 4e-6}, {at::kBFloat16, 8e-3}, {at::kHalf, 2e-3}};
const std::vector<int64_t> kDims = {1, 3, 8, 63, 64, 65, 200, 1536, 5120, 40004};

double worst(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
  REQUIRE(x.sizes() == y.sizes());
  return ((x - y).abs() / y.abs().clamp_min(1)).max().item<double>();
}

at::Tensor definition(const at::Tensor& x, const at::Tensor& factor, const at::Tensor& offset, double eps) {
  const at::Tensor wide = x.to(at::kDouble), far = wide - wide.mean(-1, true);
  return far / (far.square().mean(-1, true) + eps).sqrt() * factor.to(at::kDouble) + offset.to(at::kDouble);
}

// The three ways in which rows find their vectors: one for all, one a sample, one by index.
std::vector<RowVectors> ways(int64_t samples, int64_t rows, int64_t dim, at::Device device) {
  const at::Tensor packed = at::randn({5, 6, dim}).to(device);  // vectors lie apart, as a timestep's do
  const at::Tensor index = at::randint(5, {samples * rows}, at::kLong).to(device);
  return {{packed.select(1, 2).narrow(0, 0, 1), {}},
          {packed.select(1, 3).narrow(0, 1, samples), {}},
          {packed.select(1, 4), index}};
}

void compare_layer_norm(at::Device device) {
  at::manual_seed(51);
  for (const Format& format : kFormats) {
    for (const int64_t dim : kDims) {
      const at::Tensor x = at::randn({2, 5, dim}).mul_(3).add_(1).to(device, format.dtype);
      INFO(toString(format.dtype) << " dim " << dim);
      const at::Tensor weight = at::randn({dim}).to(device), bias = at::randn({dim}).to(device);
      const at::Tensor none;
      CHECK(layer_norm(x, weight, bias, 1e-6).scalar_type() == format.dtype);
      CHECK(worst(layer_norm(x, weight, bias, 1e-5), definition(x, weight, bias, 1e-5)) <= format.tolerance);
      CHECK(worst(layer_norm(x, none, none, 1e-5), definition(x, at::ones({}), at::zeros({}), 1e-5)) <=
            format.tolerance);
      const std::vector<RowVectors> scales = ways(2, 5, dim, device), shifts = ways(2, 5, dim, device);
      for (size_t way = 0; way < scales.size(); ++way) {
        const at::Tensor expected = definition(x, 1 + spread(scales[way], x), spread(shifts[way], x), 1e-6);
        CHECK(worst(modulated_layer_norm(x, scales[way], shifts[way], 1e-6), expected) <= format.tolerance);
        CHECK(worst(modulated_layer_norm_reference(x, scales[way], shifts[way], 1e-6), expected) <=
              format.tolerance);
      }
    }
  }
}

void compare_gated_add(at::Device device) {
  at::manual_seed(52);
  for (const Format& format : kFormats) {
    for (const int64_t dim : kDims) {
      const at::Tensor x = at::randn({2, 5, dim}).to(device, format.dtype),
                       y = at::randn({2, 5, dim}).to(device, format.dtype);
      INFO(toString(format.dtype) << " dim " << dim);
      for (const RowVectors& gate : ways(2, 5, dim, device)) {
        const at::Tensor expected = x.to(at::kDouble) + y.to(at::kDouble) * spread(gate, x).to(at::kDouble);
        at::Tensor sum = x.clone();
        gated_add_(sum, y, gate);
        CHECK(worst(sum, expected) <= format.tolerance);
        CHECK(worst(gated_add_reference(x, y, gate), expected) <= format.tolerance);
      }
    }
  }
}

void compare_gelu(at::Device device) {
  at::manual_seed(53);
  for (const Format& format : kFormats) {
    for (const int64_t count : {1, 7, 4096, 4097, 100001}) {
      at::Tensor x = at::randn({count}).mul_(4).to(device, format.dtype);
      const at::Tensor wide = x.to(at::kDouble);
      const at::Tensor expected = at::gelu(wide, "tanh");
      INFO(toString(format.dtype) << " count " << count);
      CHECK(worst(gelu_tanh_reference(x), expected) <= format.tolerance);
      at::Tensor odd = at::zeros({count + 1}, x.options());  // not on a 16-byte border
      at::Tensor inside = odd.narrow(0, 1, count);
      inside.copy_(x);
      gelu_tanh_(x);
      gelu_tanh_(inside);
      CHECK(worst(x, expected) <= format.tolerance);
      CHECK(at::equal(inside, x));
      CHECK(odd[0].item<float>() == 0);
    }
  }
}

// Views of a packed tensor, odd offsets, transposed: each as its contiguous copy, nothing outside touched.
void compare_views(at::Device device) {
  at::manual_seed(54);
  for (const Format& format : kFormats) {
    const at::Tensor packed = at::randn({3, 7, 300}).to(device, format.dtype);
    const std::vector<at::Tensor> views = {packed.narrow(2, 96, 96), packed.narrow(2, 1, 96),
                                           packed.narrow(2, 8, 96).transpose(0, 1),
                                           packed.narrow(2, 3, 192).slice(2, 0, 192, 2)};
    const RowVectors vectors{at::randn({1, 96}).to(device), {}};
    for (const at::Tensor& view : views) {
      CHECK(at::equal(modulated_layer_norm(view, vectors, vectors, 1e-6),
                      modulated_layer_norm(view.contiguous(), vectors, vectors, 1e-6)));
      at::Tensor copy = packed.clone();
      at::Tensor same = copy.as_strided(view.sizes(), view.strides(), view.storage_offset());
      gated_add_(same, view, vectors);
      CHECK(worst(same, gated_add_reference(view, view, vectors)) <= format.tolerance);
      same.copy_(view);
      gelu_tanh_(same);
      CHECK(worst(same, gelu_tanh_reference(view)) <= format.tolerance);
      same.copy_(view);
      CHECK(at::equal(copy, packed));
    }
  }
}

TEST_CASE("layer_norm, modulated too, is its definition") {
  compare_layer_norm(at::kCPU);
}
TEST_CASE("gated_add is its definition") {
  compare_gated_add(at::kCPU);
}
TEST_CASE("gelu is its definition") {
  compare_gelu(at::kCPU);
}
TEST_CASE("layer_norm, gated_add and gelu take any view") {
  compare_views(at::kCPU);
}
TEST_CASE("layer_norm, gated_add and gelu on a GPU", "[gpu]") {
  if (!test::has_gpu()) return;
  compare_layer_norm(at::kCUDA);
  compare_gated_add(at::kCUDA);
  compare_gelu(at::kCUDA);
  compare_views(at::kCUDA);
}

TEST_CASE("layer_norm keeps its digits beside a large mean") {
  at::manual_seed(55);
  const at::Tensor x = at::randn({4, 1536}).add_(1000);
  CHECK(worst(layer_norm(x, {}, {}, 1e-6), definition(x, at::ones({}), at::zeros({}), 1e-6)) < 1e-3);
}

TEST_CASE("layer_norm, gated_add and gelu are bit-equal for any number of threads") {
  at::manual_seed(56);
  const at::Tensor x = at::randn({257, 1001});
  const RowVectors vectors{at::randn({257, 1001}), {}};
  const auto all = [&] {
    at::Tensor sum = x.clone(), gelu = x.clone();
    gated_add_(sum, x, vectors);
    gelu_tanh_(gelu);
    return at::stack({modulated_layer_norm(x, vectors, vectors, 1e-6), sum, gelu});
  };
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = all();
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    CHECK(at::equal(all(), one));
  }
  at::set_num_threads(before);
}

TEST_CASE("gelu far out, and what is no number") {
  const float infinity = std::numeric_limits<float>::infinity();
  at::Tensor x = at::tensor({-1e30f, -300.0f, -11.0f, 0.0f, 11.0f, 1e30f, infinity, NAN});
  gelu_tanh_(x);
  CHECK(at::equal(x.narrow(0, 0, 7), at::tensor({0.0f, 0.0f, 0.0f, 0.0f, 11.0f, 1e30f, infinity})));
  CHECK(std::isnan(x[7].item<float>()));
}

TEST_CASE("layer_norm, gated_add and gelu take no rows and refuse what they can't do") {
  const RowVectors eight{at::ones({1, 8}), {}};
  CHECK(layer_norm(at::empty({0, 8}), {}, {}, 1e-6).sizes() == at::IntArrayRef({0, 8}));
  at::Tensor none = at::empty({0, 8}), x = at::ones({3, 8});
  gated_add_(none, none, eight);
  gelu_tanh_(none);
  CHECK_THROWS_AS(layer_norm(x, at::ones({7}), at::ones({7}), 1e-6), InternalError);
  CHECK_THROWS_AS(layer_norm(x, at::ones({8}), {}, 1e-6), InternalError);
  CHECK_THROWS_AS(layer_norm(x.to(at::kDouble), {}, {}, 1e-6), InternalError);
  CHECK_THROWS_AS(modulated_layer_norm(x, eight, {at::ones({2, 8}), {}}, 1e-6), InternalError);
  CHECK_THROWS_AS(modulated_layer_norm(x, eight, {at::ones({1, 8}), at::zeros({2}, at::kLong)}, 1e-6),
                  InternalError);
  CHECK_THROWS_AS(gated_add_(x, at::ones({3, 7}), eight), InternalError);
  CHECK_THROWS_AS(gated_add_(x, x.to(at::kHalf), eight), InternalError);
  CHECK_THROWS_AS(gated_add_(x, x, {}), InternalError);
  at::Tensor wide = x.to(at::kDouble);
  CHECK_THROWS_AS(gelu_tanh_(wide), InternalError);
}

}  // namespace
}  // namespace rushes
