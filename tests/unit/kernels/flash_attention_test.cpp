// flash_attention beside its definition: block borders, odd sizes, strides, extreme scores, and no row knows
// of another.
#include "kernels/flash_attention/flash_attention.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/common/brgemm.h"
#include "kernels/flash_attention/flash_attention_cpu.h"

namespace rushes {
namespace {

struct Draw {
  at::Tensor q, k, v;
};

Draw draw(int64_t batch, int64_t queries, int64_t keys, int64_t heads, int64_t dim, int64_t value_dim,
          at::ScalarType dtype) {
  return {at::randn({batch, queries, heads, dim}).to(dtype), at::randn({batch, keys, heads, dim}).to(dtype),
          at::randn({batch, keys, heads, value_dim}).to(dtype)};
}

double worst(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

bool here(at::ScalarType dtype = at::kFloat) {
  if (can_flash_attention(at::empty({1, 1, 1, 2}, dtype))) return true;
  WARN("no micro-kernel on this processor: not tested");
  return false;
}

TEST_CASE("flash_attention equals its definition at every block border", "[kernels]") {
  at::manual_seed(11);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!here(dtype)) continue;
    const double tolerance = dtype == at::kFloat ? 3e-6 : 2e-2;
    for (const auto& [queries, keys] :
         {std::pair{1, 1}, {1, 3}, {191, 255}, {192, 256}, {193, 257}, {5, 513}, {300, 700}}) {
      for (const auto& [dim, value_dim] :
           {std::pair{8, 8}, {32, 32}, {64, 48}, {128, 128}, {2, 5}, {40, 17}}) {
        const Draw in = draw(2, queries, keys, 3, dim, value_dim, dtype);
        CAPTURE(dtype, queries, keys, dim, value_dim);
        const double scale = 1 / std::sqrt(static_cast<double>(dim));
        const at::Tensor out = flash_attention(in.q, in.k, in.v, scale);
        CHECK(out.is_contiguous());
        CHECK(worst(out, flash_attention_reference(in.q, in.k, in.v, scale)) < tolerance);
      }
    }
  }
}

TEST_CASE("flash_attention multiplies bfloat16 as such or as float32", "[kernels]") {
  at::manual_seed(15);
  for (const auto products : {at::kFloat, at::kBFloat16}) {
    if (!has_brgemm(products)) continue;  // none on this processor
    for (const auto& [queries, keys] : {std::pair{1, 1}, {1, 3}, {191, 255}, {193, 257}, {300, 701}}) {
      for (const auto& [dim, value_dim] : {std::pair{8, 8}, {128, 128}, {2, 5}, {40, 17}}) {
        CAPTURE(products, queries, keys, dim, value_dim);
        const Draw in = draw(2, queries, keys, 3, dim, value_dim, at::kBFloat16);
        const double scale = 1 / std::sqrt(static_cast<double>(dim));
        at::Tensor out = at::empty({2, queries, 3, value_dim}, at::kBFloat16);
        const at::Tensor lse = at::empty({2, queries, 3});
        flash_attention_cpu(in.q, in.k, in.v, static_cast<float>(scale), out, lse, products);
        CHECK(worst(out, flash_attention_reference(in.q, in.k, in.v, scale)) < 2e-2);
        const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble).transpose(1, 2); };
        const at::Tensor scores = at::matmul(wide(in.q), wide(in.k).transpose(2, 3)).mul(scale);
        CHECK(worst(lse, at::logsumexp(scores, -1).transpose(1, 2)) < 1e-4);
      }
    }
  }
}

TEST_CASE("flash_attention reads any strides", "[kernels]") {
  if (!here()) return;
  at::manual_seed(12);
  const at::Tensor packed = at::randn({2, 70, 3 * 4 * 8});
  const auto part = [&](int64_t i) { return packed.narrow(2, i * 32, 32).unflatten(2, {4, 8}); };
  const at::Tensor one = at::randn({2, 1, 4, 8}).expand({2, 70, 4, 8});
  CHECK(worst(flash_attention(one, one, part(2), 0.3), flash_attention_reference(one, one, part(2), 0.3)) <
        3e-6);
  const at::Tensor turned = at::randn({8, 4, 70, 2}).permute({3, 2, 1, 0});
  CHECK(worst(flash_attention(part(0), part(1), part(2), 0.3),
              flash_attention_reference(part(0), part(1), part(2), 0.3)) < 3e-6);
  CHECK(worst(flash_attention(turned, turned, part(2), 0.3),
              flash_attention_reference(turned, turned, part(2), 0.3)) < 3e-6);
}

TEST_CASE("flash_attention keeps extreme scores right and shows what is not a number", "[kernels]") {
  if (!here()) return;
  at::manual_seed(13);
  const Draw in = draw(1, 6, 600, 1, 16, 16, at::kFloat);
  // The largest scores come last, far above those before: what was summed up must vanish.
  in.k.narrow(1, 590, 10).mul_(40);
  CHECK(worst(flash_attention(in.q, in.k, in.v, 1.0), flash_attention_reference(in.q, in.k, in.v, 1.0)) <
        1e-4);
  in.k[0][300][0][0] = std::numeric_limits<float>::quiet_NaN();
  CHECK(flash_attention(in.q, in.k, in.v, 1.0).isnan().all().item<bool>());
  Draw low = draw(1, 2, 600, 1, 16, 16, at::kFloat);
  low.q.fill_(1e30);
  low.k.narrow(1, 0, 300).fill_(-1e30);  // whose products overflow: -infinity for all of the first block
  low.k.narrow(1, 300, 300).fill_(0);
  CHECK(worst(flash_attention(low.q, low.k, low.v, 1.0),
              flash_attention_reference(low.q, low.k, low.v, 1.0)) < 1e-5);
  const Draw fine = draw(1, 6, 600, 1, 16, 16, at::kFloat);
  fine.q[0][2][0][3] = std::numeric_limits<float>::infinity();
  const at::Tensor out = flash_attention(fine.q, fine.k, fine.v, 1.0);
  CHECK(out[0][2].isnan().all().item<bool>());
  CHECK(out.narrow(1, 0, 2).isfinite().all().item<bool>());
  CHECK(out.narrow(1, 3, 3).isfinite().all().item<bool>());
}

TEST_CASE("flash_attention takes scores of any finite size, however many keys there are", "[kernels]") {
  if (!here()) return;
  at::manual_seed(16);
  for (const float score : {1e-30f, 40.0f, 3e8f, 1.5e9f, 1e10f, 1e30f, -3e8f, -1e10f, -1e30f}) {
    for (const int64_t keys : {1, 3, 63, 64, 65, 257, 600}) {
      CAPTURE(score, keys);
      const Draw in = draw(1, 2, keys, 1, 2, 16, at::kFloat);
      in.q.fill_(score);
      in.k.fill_(0.5);  // all scores alike: the mean
      CHECK(worst(flash_attention(in.q, in.k, in.v, 1.0), in.v.mean(1, true).expand({1, 2, 1, 16})) < 1e-5);
      if (keys < 3) continue;
      in.k.narrow(1, 1, keys - 1).zero_();
      CHECK(worst(flash_attention(in.q, in.k, in.v, 1.0), flash_attention_reference(in.q, in.k, in.v, 1.0)) <
            1e-5);
    }
  }
}

TEST_CASE("a query's result does not depend on the queries beside it", "[kernels]") {
  at::manual_seed(14);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!here(dtype)) continue;
    const Draw in = draw(2, 333, 270, 2, 32, 32, dtype);
    const at::Tensor all = flash_attention(in.q, in.k, in.v, 0.2);
    for (const auto& [first, count] : {std::pair{0, 1}, {7, 126}, {100, 200}, {332, 1}}) {
      CAPTURE(dtype, first, count);
      const at::Tensor some = flash_attention(in.q.narrow(1, first, count), in.k, in.v, 0.2);
      CHECK(at::equal(some, all.narrow(1, first, count)));
    }
  }
}

TEST_CASE("flash_attention refuses what does not fit", "[kernels]") {
  const Draw in = draw(1, 4, 4, 2, 8, 8, at::kFloat);
  CHECK_THROWS_AS(flash_attention(in.q, in.k.narrow(3, 0, 4), in.v, 1.0), InternalError);
  CHECK_THROWS_AS(flash_attention(in.q, in.k, in.v, -1.0), InternalError);
  CHECK_THROWS_AS(flash_attention(in.q, in.k.to(at::kBFloat16), in.v, 1.0), InternalError);
  CHECK(!can_flash_attention(at::empty({1, 1, 1, 2}, at::kHalf)));
  CHECK(!can_flash_attention(at::empty({1, 1, 1, 3}, at::kBFloat16)));
}

}  // namespace
}  // namespace rushes
