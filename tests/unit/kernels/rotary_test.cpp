#include "kernels/rotary/rotary.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "support/devices.h"

namespace rushes {
namespace {

struct Row {
  at::ScalarType dtype;
  double tolerance;  // of |error| / max(1, |y|): one rounding to the format
};
const std::vector<Row> kRows = {{at::kFloat, 1e-6}, {at::kBFloat16, 4e-3}, {at::kHalf, 5e-4}};

double worst(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
  return ((x - y).abs() / y.abs().clamp_min(1)).max().item<double>();
}

struct Table {
  at::Tensor cos, sin;
};
Table draw_table(int64_t tokens, int64_t dim, at::Device device) {
  const at::Tensor angle = at::randn({tokens, dim / 2}).mul_(10);
  return {angle.cos().to(device), angle.sin().to(device)};
}

void compare_with_definition(at::Device device) {
  at::manual_seed(21);
  for (const Row& row : kRows) {
    for (const int64_t dim : {2, 6, 8, 10, 44, 64, 128}) {
      const auto [cos, sin] = draw_table(7, dim, device);
      const at::Tensor x = at::randn({2, 7, 3, dim}).to(device, row.dtype);
      INFO("dtype " << row.dtype << " dim " << dim);
      const at::Tensor expected = rotary_reference(x, cos, sin);
      CHECK(worst(rotary(x, cos, sin), expected) <= row.tolerance);
      at::Tensor y = x.clone();
      rotary_(y, cos, sin);
      CHECK(at::equal(y, rotary(x, cos, sin)));
    }
  }
}

// Heads inside a packed q/k/v, at odd offsets, transposed, and with the last dim spread out.
void compare_views(at::Device device) {
  at::manual_seed(22);
  for (const Row& row : kRows) {
    const auto [cos, sin] = draw_table(5, 8, device);
    const at::Tensor packed = at::randn({2, 5, 100}).to(device, row.dtype);
    const at::Tensor heads_first = at::randn({2, 4, 5, 8}).to(device, row.dtype).transpose(1, 2);
    const std::vector<at::Tensor> views = {
        packed.narrow(2, 32, 32).unflatten(2, {4, 8}), packed.narrow(2, 3, 32).unflatten(2, {4, 8}),
        packed.narrow(2, 2, 64).slice(2, 0, 64, 2).unflatten(2, {4, 8}), heads_first};
    for (size_t i = 0; i < views.size(); ++i) {
      INFO("dtype " << row.dtype << " view " << i);
      const at::Tensor expected = rotary_reference(views[i], cos, sin);
      CHECK(worst(rotary(views[i], cos, sin), expected) <= row.tolerance);
      at::Tensor view = views[i];
      const at::Tensor before = view.clone(), all = packed.clone();
      rotary_(view, cos, sin);
      CHECK(worst(view, expected) <= row.tolerance);
      view.copy_(before);  // and nothing else was touched
      CHECK(at::equal(packed, all));
    }
  }
}

TEST_CASE("rotary is its definition on the CPU") {
  compare_with_definition(at::kCPU);
}
TEST_CASE("rotary takes any view on the CPU") {
  compare_views(at::kCPU);
}

TEST_CASE("rotary is its definition on a GPU", "[gpu]") {
  if (!test::has_gpu()) return;
  compare_with_definition(at::kCUDA);
  compare_views(at::kCUDA);
}

TEST_CASE("rotary turns pairs, as complex numbers do") {
  at::manual_seed(23);
  const at::Tensor angle = at::randn({9, 4}, at::kDouble), x = at::randn({1, 9, 2, 8});
  const at::Tensor turned =
      at::view_as_real(at::view_as_complex(x.to(at::kDouble).unflatten(3, {4, 2}).contiguous()) *
                       at::polar(at::ones_like(angle), angle).unsqueeze(1))
          .flatten(3);
  const at::Tensor y = rotary(x, angle.cos().to(at::kFloat), angle.sin().to(at::kFloat));
  CHECK(worst(y, turned) < 1e-6);
}

TEST_CASE("rotary is bit-equal for any number of threads") {
  at::manual_seed(24);
  const auto [cos, sin] = draw_table(1013, 12, at::kCPU);
  const at::Tensor x = at::randn({1, 1013, 5, 12});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = rotary(x, cos, sin);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    CHECK(at::equal(rotary(x, cos, sin), one));
  }
  at::set_num_threads(before);
}

TEST_CASE("rotary takes no tokens and refuses what does not fit") {
  const auto [cos, sin] = draw_table(3, 8, at::kCPU);
  CHECK(rotary(at::empty({2, 0, 4, 8}), cos.narrow(0, 0, 0), sin.narrow(0, 0, 0)).numel() == 0);
  CHECK(rotary(at::empty({0, 3, 4, 8}), cos, sin).numel() == 0);
  CHECK_THROWS_AS(rotary(at::ones({1, 4, 2, 8}), cos, sin), InternalError);
  CHECK_THROWS_AS(rotary(at::ones({1, 3, 2, 6}), cos, sin), InternalError);
  CHECK_THROWS_AS(rotary(at::ones({1, 3, 2, 8}), cos.to(at::kHalf), sin), InternalError);
  CHECK_THROWS_AS(rotary(at::ones({1, 3, 2, 8}, at::kDouble), cos, sin), InternalError);
}

}  // namespace
}  // namespace rushes
