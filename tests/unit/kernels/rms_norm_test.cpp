#include "kernels/rms_norm/rms_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <limits>

#include "base/error.h"
#include "support/devices.h"

namespace rushes {
namespace {

struct Row {
  at::ScalarType x, weight;
  double tolerance;  // of |error| / max(1, |y|): two roundings to the narrower format, or float32's sums
};

const std::vector<Row> kRows = {
    {at::kFloat, at::kFloat, 2e-6}, {at::kBFloat16, at::kBFloat16, 8e-3},
    {at::kHalf, at::kHalf, 2e-3},   {at::kFloat, at::kBFloat16, 8e-3},
    {at::kFloat, at::kHalf, 2e-3},  {at::kBFloat16, at::kFloat, 8e-3},
    {at::kHalf, at::kFloat, 2e-3},
};

double worst(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
  return ((x - y).abs() / y.abs().clamp_min(1)).max().item<double>();
}

// Every format, order and size against the definition, on one device.
void compare_with_definition(at::Device device) {
  at::manual_seed(11);
  for (const Row& row : kRows) {
    for (const auto rounding : {RmsNormRounding::after_weight, RmsNormRounding::before_weight}) {
      for (const int64_t dim : {1, 3, 8, 63, 64, 65, 200, 1536, 5120, 40004}) {
        for (const bool with_weight : {true, false}) {
          const at::Tensor x = at::randn({2, 5, dim}).mul_(3).to(device, row.x);
          const at::Tensor weight = with_weight ? at::randn({dim}).to(device, row.weight) : at::Tensor();
          const at::Tensor y = rms_norm(x, weight, 1e-6, rounding);
          const at::Tensor expected = rms_norm_reference(x, weight, 1e-6, rounding);
          INFO("x " << row.x << " weight " << row.weight << " dim " << dim << " rounding "
                    << static_cast<int>(rounding) << " weighted " << with_weight);
          REQUIRE(y.scalar_type() == expected.scalar_type());
          REQUIRE(y.sizes() == x.sizes());
          CHECK(worst(y, expected) <= row.tolerance);
        }
      }
    }
  }
}

// Views of a packed tensor, transposed ones, odd offsets; in place or not.
void compare_views(at::Device device) {
  at::manual_seed(12);
  for (const Row& row : {kRows[0], kRows[1], kRows[2]}) {
    const at::Tensor packed = at::randn({3, 7, 300}).to(device, row.x);
    const at::Tensor weight = at::randn({96}).to(device, row.weight);
    const std::vector<at::Tensor> views = {packed.narrow(2, 96, 96), packed.narrow(2, 1, 96),
                                           packed.narrow(2, 8, 96).transpose(0, 1),
                                           packed.narrow(2, 3, 192).slice(2, 0, 192, 2)};
    for (size_t i = 0; i < views.size(); ++i) {
      INFO("x " << row.x << " view " << i);
      const at::Tensor expected = rms_norm_reference(views[i].contiguous(), weight, 1e-6);
      CHECK(worst(rms_norm(views[i], weight, 1e-6), expected) <= row.tolerance);
      at::Tensor copy = packed.clone();
      at::Tensor view = copy.as_strided(views[i].sizes(), views[i].strides(), views[i].storage_offset());
      rms_norm_(view, weight, 1e-6);
      CHECK(at::equal(view, rms_norm(views[i], weight, 1e-6)));
      // Nothing outside the view was touched.
      view.copy_(views[i]);
      CHECK(at::equal(copy, packed));
    }
  }
}

// Into the middle of another tensor and turned, in every format; far out; NaN.
void compare_with_silu(at::Device device) {
  at::manual_seed(21);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t dim : {1, 3, 64, 96, 100, 384, 1030}) {
      const at::Tensor x = at::randn({2, 6, dim}).mul_(4).to(device, dtype),
                       weight = at::randn({dim}).mul_(3).to(device, dtype);
      const at::Tensor expected = rms_norm_silu_reference(x, weight, 1e-30);
      const double tolerance = dtype == at::kFloat ? 2e-6 : dtype == at::kHalf ? 2e-3 : 1e-2;
      const at::Tensor wide = at::full({2, 8, dim}, 7).to(device, dtype);
      at::Tensor middle = wide.narrow(1, 2, 6),
                 turned = at::empty({dim, 6, 2}, x.options()).permute({2, 1, 0});
      CAPTURE(dtype, dim);
      for (at::Tensor* out : {&middle, &turned}) {
        rms_norm_silu_out(*out, x, weight, 1e-30);
        CHECK(worst(*out, expected) <= tolerance);
      }
      CHECK((wide.narrow(1, 0, 2) == 7).all().item<bool>());
    }
  }
  at::Tensor out = at::empty({1, 4}, device),
             far = at::tensor({-300.0f, 300.0f, 1.0f, 0.0f}).view({1, 4}).to(device);
  rms_norm_silu_out(out, far, at::tensor({1e38f, 1e6f, 1.0f, 1.0f}).to(device), 1e-30);
  CHECK(out.isfinite().all().item<bool>());  // e^(10^6) is no number
  CHECK(out[0][0].item<float>() == 0);
  far[0][3] = std::numeric_limits<float>::quiet_NaN();
  rms_norm_silu_out(out, far, at::Tensor(), 1e-30);
  CHECK(out.isnan().all().item<bool>());
}

TEST_CASE("rms_norm is its definition on the CPU") {
  compare_with_definition(at::kCPU);
}
TEST_CASE("rms_norm takes any view on the CPU") {
  compare_views(at::kCPU);
}

TEST_CASE("rms_norm is its definition on a GPU", "[gpu]") {
  if (!test::has_gpu()) return;
  compare_with_definition(at::kCUDA);
  compare_views(at::kCUDA);
  compare_with_silu(at::kCUDA);
}

TEST_CASE("rms_norm rounds where torch.nn.RMSNorm and T5LayerNorm do") {
  at::manual_seed(13);
  const at::Tensor x = at::randn({64, 256}).to(at::kBFloat16), weight = at::randn({256}).to(at::kBFloat16);
  // ATen's own rms_norm is torch.nn.RMSNorm; a float32 sum in another order moves few values by one step.
  const at::Tensor torchs = at::rms_norm(x, {256}, weight, 1e-6);
  CHECK((rms_norm(x, weight, 1e-6) != torchs).sum().item<int64_t>() <= 4);
  const at::Tensor t5 =
      (x.to(at::kFloat) * at::rsqrt(x.to(at::kFloat).pow(2).mean(-1, true) + 1e-6)).to(at::kBFloat16) *
      weight;
  const at::Tensor ours = rms_norm(x, weight, 1e-6, RmsNormRounding::before_weight);
  CHECK((ours != t5).sum().item<int64_t>() <= 4);
  CHECK((torchs != t5).sum().item<int64_t>() > 1000);
}

TEST_CASE("rms_norm_silu_out is silu of rms_norm, into any view") {
  compare_with_silu(at::kCPU);
}

TEST_CASE("rms_norm is bit-equal for any number of threads") {
  at::manual_seed(14);
  const at::Tensor x = at::randn({257, 1001}), weight = at::randn({1001});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = rms_norm(x, weight, 1e-6);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    CHECK(at::equal(rms_norm(x, weight, 1e-6), one));
  }
  at::set_num_threads(before);
}

TEST_CASE("rms_norm takes no rows, infinities and NaN, and refuses what it can't do") {
  const at::Tensor weight = at::ones({8});
  CHECK(rms_norm(at::empty({0, 8}), weight, 1e-6).sizes() == at::IntArrayRef({0, 8}));
  CHECK(rms_norm(at::zeros({2, 8}), weight, 1e-6).abs().max().item<float>() == 0);
  const at::Tensor bad = at::full({1, 8}, NAN).to(at::kBFloat16);
  CHECK(rms_norm(bad, weight, 1e-6).isnan().all().item<bool>());
  CHECK_THROWS_AS(rms_norm(at::ones({2, 7}), weight, 1e-6), InternalError);
  CHECK_THROWS_AS(rms_norm(at::ones({2, 8}, at::kDouble), weight, 1e-6), InternalError);
  CHECK_THROWS_AS(rms_norm(at::ones({2, 8}, at::kHalf), weight.to(at::kBFloat16), 1e-6), InternalError);
  at::Tensor x = at::ones({2, 8});
  CHECK_THROWS_AS(rms_norm_(x, weight.to(at::kHalf), 1e-6, RmsNormRounding::before_weight), InternalError);
}

}  // namespace
}  // namespace rushes
