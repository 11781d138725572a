// Attention over ranks that share a sequence equals attention over the whole of it.
#include "attention/distributed.h"

#include <catch2/catch.hpp>
#include <mutex>

#include "base/error.h"
#include "support/ranks.h"

namespace rushes {
namespace {

struct Case {
  int64_t ulysses, ring, batch, tokens, heads, dim;
  int64_t text = 0;
  bool masked = false;
  at::ScalarType dtype = at::kFloat;
  AttentionBackend backend = AttentionBackend::automatic;
  int64_t pieces = 1;
};

std::string name_of(const Case& c) {
  return str("ulysses ", c.ulysses, " ring ", c.ring, " batch ", c.batch, " tokens ", c.tokens, " heads ",
             c.heads, " pieces ", c.pieces, " text ", c.text, " masked ", c.masked, " ", toString(c.dtype),
             " backend ", static_cast<int>(c.backend));
}

/// Rank r's group: ulysses ranks r / ulysses * ulysses ..., ring ranks r % ulysses, + ulysses, ...
struct Sp {
  Comm ulysses, ring;
  SequenceParallel sp;
  Sp(const Comm& world, int64_t u, int64_t r) {
    std::vector<int> row, column;
    for (int64_t i = 0; i < u; ++i)
      row.push_back(static_cast<int>(world.rank() / u * u + i));
    for (int64_t i = 0; i < r; ++i)
      column.push_back(static_cast<int>(world.rank() % u + i * u));
    ulysses = world.subgroup(row, 1, "ulysses");
    ring = world.subgroup(column, 2, "ring");
    sp = {&ulysses, &ring, &world};
  }
};

struct Whole {
  at::Tensor q, k, v, text_q, text_k, text_v, mask, out, text_out;
};

Whole make_whole(const Case& c) {
  at::manual_seed(77);
  const auto draw = [&](int64_t tokens) { return at::randn({c.batch, tokens, c.heads, c.dim}).to(c.dtype); };
  Whole w{
      draw(c.tokens), draw(c.tokens), draw(c.tokens), draw(c.text), draw(c.text), draw(c.text), {}, {}, {}};
  if (c.masked) {
    w.mask = at::rand({c.batch, c.tokens}) < 0.6;
    w.mask.narrow(1, 0, c.tokens / 3).fill_(false);  // a whole rank's keys
    w.mask.select(1, c.tokens - 1).fill_(true);
  }
  AttentionInput in{
      at::cat({w.q, w.text_q}, 1), at::cat({w.k, w.text_k}, 1), at::cat({w.v, w.text_v}, 1), {}, {}};
  for (at::Tensor* x : {&in.q, &in.k, &in.v})
    *x = x->to(at::kDouble);
  if (c.masked)
    in.bias = at::cat({w.mask, at::ones({c.batch, c.text}, at::kBool)}, 1).unsqueeze(1).unsqueeze(1);
  const at::Tensor out = attend(in, {.attention = AttentionBackend::reference});
  w.out = out.narrow(1, 0, c.tokens);
  w.text_out = out.narrow(1, c.tokens, c.text);
  return w;
}

void check_case(const Case& c) {
  INFO(name_of(c));
  const Whole w = make_whole(c);
  const double tolerance = c.dtype == at::kFloat ? 1e-5 : 2e-2;
  std::mutex mutex;
  std::vector<at::Tensor> texts;
  double worst = 0;
  test::run_ranks(static_cast<int>(c.ulysses * c.ring), [&](const Comm& world) {
    Sp groups(world, c.ulysses, c.ring);
    groups.sp.pieces = c.pieces;
    const StepContext context{.attention = c.backend, .sp = &groups.sp};
    const auto own = [&](const at::Tensor& x) { return own_tokens(x, 1, context); };
    const ReplicatedTokens text =
        c.text > 0 ? ReplicatedTokens{w.text_q, w.text_k, w.text_v} : ReplicatedTokens{};
    const JointAttention got = attend_distributed({own(w.q), own(w.k), own(w.v), {}, {}}, c.tokens, text,
                                                  c.masked ? own(w.mask) : at::Tensor(), context);
    const at::Tensor all = all_tokens(got.own, 1, c.tokens, context);
    const std::lock_guard lock(mutex);
    if (all.numel() > 0) worst = std::max(worst, (all.to(at::kDouble) - w.out).abs().max().item<double>());
    if (c.text > 0) {
      worst = std::max(worst, (got.replicated.to(at::kDouble) - w.text_out).abs().max().item<double>());
      texts.push_back(got.replicated.clone());
    }
  });
  CHECK(worst <= tolerance);
  for (const at::Tensor& text : texts)
    CHECK(at::equal(text, texts[0]));  // or the ranks would drift apart
}

TEST_CASE("attention over ranks equals attention over the whole sequence") {
  for (const auto backend :
       {AttentionBackend::automatic, AttentionBackend::reference, AttentionBackend::sdpa}) {
    for (const auto& [ulysses, ring] : {std::pair{2, 1}, {3, 1}, {1, 2}, {1, 3}, {2, 2}, {5, 1}, {2, 3}}) {
      for (const auto& [tokens, heads] : {std::pair{7, 1}, {100, 12}, {257, 5}, {4, 2}})
        check_case({ulysses, ring, 1, tokens, heads, 16, 0, false, at::kFloat, backend});
    }
  }
  check_case({8, 1, 1, 90, 12, 8});  // 12 heads on 8 ranks
  check_case({2, 2, 1, 130, 6, 32, 0, false, at::kBFloat16});
}

TEST_CASE("heads that are traded in pieces give the same") {
  for (const int64_t pieces : {2, 3, 5}) {
    for (const auto& [ulysses, ring] : {std::pair{1, 1}, {2, 1}, {3, 1}, {2, 2}}) {
      for (const int64_t heads : {12, 5, 1})
        check_case(
            {ulysses, ring, 2, 57, heads, 8, 0, heads == 5, at::kFloat, AttentionBackend::automatic, pieces});
    }
  }
}

TEST_CASE("text that every rank holds, masks and batches over ranks") {
  for (const auto& [ulysses, ring] : {std::pair{1, 1}, {2, 1}, {1, 3}, {3, 2}}) {
    check_case({ulysses, ring, 2, 60, 4, 16, 9});
    check_case({ulysses, ring, 2, 60, 4, 16, 0, true});
    check_case({ulysses, ring, 2, 60, 4, 16, 9, true});
  }
}

TEST_CASE("bytes sent for attention are those of theory") {
  for (const auto& [ulysses, ring] : {std::pair{1, 1}, {2, 1}, {3, 1}, {1, 2}, {1, 4}, {2, 3}, {5, 1}}) {
    for (const auto& [tokens, heads] : {std::pair{100, 12}, {7, 3}, {257, 4}}) {
      for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        const int64_t batch = 2, dim = 8;
        test::run_ranks(ulysses * ring, [&, u = ulysses, r = ring, n = tokens, h = heads](const Comm& world) {
          const Sp groups(world, u, r);
          const StepContext context{.sp = &groups.sp};
          const at::Tensor x = own_tokens(at::ones({batch, n, h, dim}, dtype), 1, context);
          attend_distributed({x, x, x, {}, {}}, n, context);
          const int64_t sent = groups.ulysses.traffic().bytes_sent + groups.ring.traffic().bytes_sent;
          const int64_t theory =
              distributed_attention_bytes(world.rank(), u, r, batch, n, h, dim, dtype == at::kFloat ? 4 : 2);
          RUSHES_CHECK(sent == theory, sent, " bytes sent, ", theory, " by theory, rank ", world.rank());
        });
      }
    }
  }
}

TEST_CASE("parts of attention are put together") {
  at::manual_seed(5);
  const at::Tensor q = at::randn({2, 9, 3, 8}), k = at::randn({2, 40, 3, 8}), v = at::randn({2, 40, 3, 8});
  for (const auto backend :
       {AttentionBackend::automatic, AttentionBackend::reference, AttentionBackend::sdpa}) {
    const StepContext context{.attention = backend};
    const auto part = [&](int64_t first, int64_t count) {
      return attend_part({q, k.narrow(1, first, count), v.narrow(1, first, count), {}, {}}, context);
    };
    const PartialAttention all = merge(merge(part(0, 15), part(15, 0)), part(15, 25));
    CHECK(at::allclose(all.out, attend({q, k, v, {}, {}}, context), 1e-5, 1e-5));
    CHECK(at::allclose(all.lse, part(0, 40).lse, 1e-5, 1e-5));
    const PartialAttention none = merge(part(0, 0), part(3, 0));
    CHECK((none.out == 0).all().item<bool>());
  }
}

}  // namespace
}  // namespace rushes
