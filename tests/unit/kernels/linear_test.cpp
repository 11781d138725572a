// linear: its definition over dtypes and odd sizes, and the same bits for any number of threads.
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <random>

#include "attention/attention.h"
#include "base/error.h"
#include "device/blas_threads.h"
#include "device/device.h"
#include "kernels/common/brgemm.h"
#include "kernels/gelu/gelu.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_panels.h"

namespace rushes {
namespace {

const bool kReproducible = (make_blas_reproducible(), true);  // before any test multiplies

struct Threads {
  explicit Threads(int count) : before(at::get_num_threads()) { set_threads(count); }
  ~Threads() { set_threads(before); }
  int before;
};

template <class Make>
bool same_for_any_threads(Make make) {
  at::Tensor first;
  for (const int count : {1, 2, 3}) {
    const Threads threads(count);
    const at::Tensor now = make();
    if (!first.defined()) first = now;
    if (!at::equal(first, now)) return false;
  }
  return true;
}

TEST_CASE("linear equals its definition", "[kernels]") {
  at::manual_seed(3);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    for (const auto& [rows, in, out] : {std::tuple{1, 1, 1}, {5, 8, 24}, {257, 33, 1025}, {600, 48, 130}}) {
      CAPTURE(rows, in, out, toString(dtype));
      const at::Tensor x = at::randn({2, rows, in}).to(dtype), weight = at::randn({out, in}).to(dtype);
      const at::Tensor bias = at::randn({out}).to(dtype);
      const at::Tensor want =
          linear_reference(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      const double eps = dtype == at::kBFloat16 ? 8e-3 : dtype == at::kHalf ? 1e-3 : 1e-6;
      CHECK(at::allclose(linear(x, LinearWeight(weight), bias).to(at::kDouble), want, eps, 20 * eps));
      const at::Tensor strided = x.transpose(0, 1);
      CHECK(at::allclose(linear(strided, LinearWeight(weight), at::Tensor()).to(at::kDouble),
                         (want - bias.to(at::kDouble)).transpose(0, 1), eps, 20 * eps));
    }
  }
  CHECK(linear(at::empty({0, 4}), LinearWeight(at::ones({3, 4})), at::Tensor()).sizes() ==
        at::IntArrayRef({0, 3}));
  CHECK_THROWS_AS(linear(at::ones({2, 4}), LinearWeight(at::ones({3, 5})), at::Tensor()), InternalError);
}

TEST_CASE("linear with GELU is GELU of linear, to the bit", "[kernels]") {
  at::manual_seed(5);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    for (const auto& [rows, in, out] :
         {std::tuple{1, 1, 1}, {5, 8, 24}, {300, 64, 330}, {100, 4100, 70}, {0, 4, 3}}) {
      for (const bool with_bias : {true, false}) {
        const at::Tensor x = at::randn({rows, in}).to(dtype), bias = at::randn({out}).to(dtype);
        const LinearWeight weight(at::randn({out, in}).to(dtype));
        at::Tensor apart = linear(x, weight, with_bias ? bias : at::Tensor());
        if (dtype == at::kDouble) {
          apart = gelu_tanh_reference(apart);
        } else {
          gelu_tanh_(apart);
        }
        CHECK(at::equal(linear(x, weight, with_bias ? bias : at::Tensor(), Epilogue::gelu_tanh), apart));
      }
    }
  }
}

TEST_CASE("linear_sums is not rounded", "[kernels]") {
  at::manual_seed(6);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    for (const auto& [rows, in, out] : {std::tuple{1, 1, 1}, {5, 8, 24}, {300, 2500, 70}, {0, 4, 3}}) {
      const at::Tensor x = at::randn({2, rows, in}).to(dtype), weight = at::randn({out, in}).to(dtype);
      const at::Tensor sums = linear_sums(x, LinearWeight(weight));
      CHECK(sums.scalar_type() == (dtype == at::kDouble ? at::kDouble : at::kFloat));
      const at::Tensor want = linear_reference(x.to(at::kDouble), weight.to(at::kDouble), {});
      CHECK(at::allclose(sums.to(at::kDouble), want, 1e-5, 1e-3));  // a rounding to 16 bits is 100 times that
    }
  }
}

TEST_CASE("bfloat16 multiplied as such and as float32 equals the definition", "[kernels]") {
  at::manual_seed(8);
  const auto bf16 = at::kBFloat16;
  for (const auto products : {at::kFloat, bf16}) {
    if (!has_brgemm(products)) continue;  // none on this processor
    for (const auto& [rows, in, out] : {std::tuple{1, 2, 1}, {5, 8, 24}, {193, 514, 130}, {400, 2050, 300}}) {
      CAPTURE(rows, in, out, toString(products));
      const at::Tensor x = at::randn({rows, in + 6}).to(bf16).narrow(1, 3, in);
      const at::Tensor weight = at::randn({out, in}).to(bf16), bias = at::randn({out}).to(bf16);
      const at::Tensor want = linear_reference(x.to(at::kDouble), weight.to(at::kDouble), {});
      at::Tensor sums = at::empty({rows, out}), y = at::empty({rows, out}, x.options());
      linear_panels(x, pack_panels(weight), {}, sums, Epilogue::none, products);
      // Products are exact either way; what differs is how sums are rounded.
      CHECK(at::allclose(sums.to(at::kDouble), want, 1e-5, 1e-3));
      linear_panels(x, pack_panels(weight), bias, y, Epilogue::none, products);
      CHECK(at::allclose(y.to(at::kDouble), want + bias.to(at::kDouble), 8e-3, 2e-2));
    }
  }
}

TEST_CASE("a row of linear does not depend on the rows beside it", "[kernels]") {
  at::manual_seed(4);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!LinearWeight(at::ones({2, 2}).to(dtype)).panels().defined()) continue;
    const at::Tensor x = at::randn({700, 2100}).to(dtype), bias = at::randn({200}).to(dtype);
    const LinearWeight weight(at::randn({200, 2100}).to(dtype));
    const at::Tensor all = linear(x, weight, bias);
    for (const auto& [first, count] : {std::pair{0, 1}, {3, 255}, {250, 300}, {699, 1}})
      CHECK(at::equal(linear(x.narrow(0, first, count), weight, bias), all.narrow(0, first, count)));
  }
}

TEST_CASE("linear and attention give the same bits for any number of threads", "[kernels]") {
  std::mt19937 random(std::random_device{}());
  const auto draw = [&](double most) {
    return static_cast<int64_t>(std::exp2(std::uniform_real_distribution<>(0, most)(random)));
  };
  for (int trial = 0; trial < 300; ++trial) {
    const int64_t rows = draw(10), in = draw(10), out = draw(10);
    CAPTURE(rows, in, out);
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const at::Tensor x = at::randn({rows, in}).to(dtype), weight = at::randn({out, in}).to(dtype);
      CHECK(same_for_any_threads([&] { return linear(x, LinearWeight(weight), at::Tensor()); }));
    }
  }
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t queries = draw(8), keys = draw(9), heads = draw(3), dim = 4 * draw(4);
    CAPTURE(queries, keys, heads, dim);
    AttentionInput input{.q = at::randn({1, queries, heads, dim}),
                         .k = at::randn({1, keys, heads, dim}),
                         .v = at::randn({1, keys, heads, dim}),
                         .bias = {},
                         .scale = {}};
    if (trial % 2 == 1) input.bias = at::randn({1, heads, queries, keys});
    if (trial % 4 == 2) {
      for (at::Tensor* part : {&input.q, &input.k, &input.v})
        *part = part->to(at::kBFloat16);
    }
    CHECK(same_for_any_threads([&] { return attend(input, {}); }));
  }
}

}  // namespace
}  // namespace rushes
