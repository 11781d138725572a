#include "attention/attention.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"

namespace rushes {
namespace {

// The definition, one query at a time, in float64.
at::Tensor by_definition(const AttentionInput& in) {
  const at::Tensor q = in.q.to(at::kDouble), k = in.k.to(at::kDouble), v = in.v.to(at::kDouble);
  const double scale = in.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3))));
  at::Tensor out = at::zeros({q.size(0), q.size(1), q.size(2), v.size(3)}, at::kDouble);
  at::Tensor bias = at::zeros({q.size(0), q.size(2), q.size(1), k.size(1)}, at::kDouble);
  if (in.bias && in.bias->scalar_type() == at::kBool) {
    bias.masked_fill_(in.bias->logical_not(), -INFINITY);
  } else if (in.bias) {
    bias.add_(*in.bias);
  }
  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < q.size(2); ++h) {
      for (int64_t l = 0; l < q.size(1); ++l) {
        at::Tensor weights = ((k[b].select(1, h) * q[b][l][h]).sum(-1) * scale + bias[b][h][l]).exp();
        weights = weights / weights.sum();
        out[b][l][h].copy_((weights.unsqueeze(1) * v[b].select(1, h)).sum(0));
      }
    }
  }
  return out;
}

double worst(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

AttentionInput draw(int64_t batch, int64_t queries, int64_t keys, int64_t heads, int64_t dim,
                    int64_t value_dim, at::ScalarType dtype) {
  return {at::randn({batch, queries, heads, dim}).to(dtype),
          at::randn({batch, keys, heads, dim}).to(dtype),
          at::randn({batch, keys, heads, value_dim}).to(dtype),
          {},
          {}};
}

TEST_CASE("every backend is softmax(qk)v, with bias, mask, scale and odd sizes") {
  at::manual_seed(5);
  struct Row {
    at::ScalarType dtype;
    double tolerance;
  };
  for (const Row& row :
       {Row{at::kDouble, 1e-12}, Row{at::kFloat, 2e-6}, Row{at::kBFloat16, 2e-2}, Row{at::kHalf, 3e-3}}) {
    for (const auto backend : {AttentionBackend::automatic, AttentionBackend::reference,
                               AttentionBackend::sdpa, AttentionBackend::flash}) {
      for (const int kind : {0, 1, 2, 3, 4}) {
        AttentionInput in = draw(2, 7, 13, 3, 10, kind == 4 ? 6 : 10, row.dtype);
        if (kind == 1) in.bias = at::randn({3, 7, 13});
        if (kind == 2) in.bias = (at::rand({2, 1, 1, 13}) > 0.3).logical_or(at::arange(13) == 0);
        if (kind == 3) in.bias = at::randn({1, 3, 1, 13}).to(row.dtype);
        if (kind == 3) in.scale = 1.0;
        StepContext context;
        context.attention = backend;
        const at::Tensor out = attend(in, context);
        INFO("dtype " << row.dtype << " backend " << static_cast<int>(backend) << " kind " << kind);
        REQUIRE(out.scalar_type() == row.dtype);
        CHECK(worst(out, by_definition(in)) < row.tolerance);
      }
    }
  }
}

TEST_CASE("attention reads strided views, and no keys give zero") {
  at::manual_seed(6);
  const at::Tensor packed = at::randn({2, 9, 3 * 4 * 8});
  const auto part = [&](int64_t i) { return packed.narrow(2, i * 32, 32).unflatten(2, {4, 8}); };
  const AttentionInput in{part(0), part(1), part(2), {}, {}};
  for (const auto backend : {AttentionBackend::reference, AttentionBackend::sdpa, AttentionBackend::flash}) {
    StepContext context;
    context.attention = backend;
    CHECK(worst(attend(in, context), by_definition(in)) < 2e-6);
    const at::Tensor none =
        attend({part(0), part(1).narrow(1, 0, 0), part(2).narrow(1, 0, 0), {}, {}}, context);
    CHECK(at::equal(none, at::zeros({2, 9, 4, 8})));
  }
  CHECK_THROWS_AS(attend({part(0), part(1), part(2).to(at::kHalf), {}, {}}, StepContext()), InternalError);
}

TEST_CASE("the reference works a long sequence off in slices") {
  at::manual_seed(7);
  // 2 heads x 9,000 x 9,000 scores are more than the reference holds at once; a bias row a query must follow.
  AttentionInput in = draw(1, 9000, 9000, 2, 4, 4, at::kFloat);
  in.bias = at::randn({9000, 1}).expand({9000, 9000}) * at::linspace(-1, 1, 9000);
  StepContext reference, sdpa;
  reference.attention = AttentionBackend::reference;
  sdpa.attention = AttentionBackend::sdpa;
  CHECK(worst(attend(in, reference), attend(in, sdpa)) < 1e-5);
}

TEST_CASE("a trace row holds shape, dtype and figures") {
  Trace trace;
  StepContext context;
  context.note("nobody listens", at::ones({1}));
  context.trace = &trace;
  const at::Tensor values = at::empty({2, 2}, at::kFloat);
  values.view({4}).copy_(at::tensor({1.f, -2.f, 3.f, 2.f}));
  context.note("a.b", values);
  context.note("empty", at::empty({0, 3}, at::kHalf));
  REQUIRE(trace.rows().size() == 2);
  const TraceRow& row = trace.rows()[0];
  CHECK(row.layer == "a.b");
  CHECK(row.shape == std::vector<int64_t>{2, 2});
  CHECK(row.dtype == "Float");
  CHECK(row.mean == 1.0);
  CHECK(row.std == Approx(std::sqrt(14.0 / 4)));
  CHECK(row.min == -2.0);
  CHECK(row.max == 3.0);
  CHECK(row.l2 == Approx(std::sqrt(18.0)));
  CHECK(trace.rows()[1].shape == std::vector<int64_t>{0, 3});
}

TEST_CASE("a memo makes a value once for the same tensors, and forgets the oldest") {
  StepMemo memo;
  int made = 0;
  const int owner = 0, stranger = 0;
  const at::Tensor a = at::ones({2}), b = at::ones({2});
  const auto get = [&](const void* who, const std::vector<at::Tensor>& of) {
    return *memo.get<int>(who, of, [&] { return ++made; });
  };
  CHECK(get(&owner, {a}) == 1);
  CHECK(get(&owner, {a}) == 1);
  CHECK(get(&owner, {b}) == 2);  // equal, but another tensor
  CHECK(get(&owner, {a, b}) == 3);
  CHECK(get(&stranger, {a}) == 4);
  CHECK(get(&owner, {a}) == 1);
  CHECK(get(&stranger, {b}) == 5);
  CHECK(get(&owner, {a}) == 6);  // was the oldest of more than four
}

}  // namespace
}  // namespace rushes
