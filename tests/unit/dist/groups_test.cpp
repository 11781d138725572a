#include "dist/groups.h"

#include <catch2/catch.hpp>
#include <set>

#include "base/error.h"
#include "support/ranks.h"

namespace rushes {
namespace {

Parallel layout(int64_t cfg, int64_t sp, int64_t ring, int64_t dit_tp, int64_t tp, int64_t vae) {
  Parallel p;
  p.cfg = cfg;
  p.sp = sp;
  p.ring = ring;
  p.dit_tp = dit_tp;
  p.tp = tp;
  p.vae = vae;
  return p;
}

TEST_CASE("what talks most stays on a node") {
  // 2 nodes of 4, ranks dealt out in turn: node 0 has 0, 2, 4, 6.
  const std::vector<int> nodes{0, 1, 0, 1, 0, 1, 0, 1};
  const std::vector<int> order = ranks_by_node(nodes);
  CHECK(order == std::vector<int>{0, 2, 4, 6, 1, 3, 5, 7});
  const ParallelPlan plan = ParallelPlan::make(layout(1, 8, 2, 1, 2, 3), 8);
  const GroupMembers first = members_of(plan, order, 0), last = members_of(plan, order, 7);
  CHECK(first.ulysses == std::vector<int>{0, 2, 4, 6});  // inside a node
  CHECK(first.ring == std::vector<int>{0, 1});           // across nodes
  CHECK(last.ulysses == std::vector<int>{1, 3, 5, 7});
  CHECK(last.sp == order);
  CHECK(first.tp == std::vector<int>{0, 2});
  CHECK(last.vae == std::vector<int>{0, 2, 4});
}

TEST_CASE("every rank sits once in one group of each kind") {
  for (const auto& [parallel, world] : {std::pair{layout(2, 2, 1, 2, 1, 1), 8},
                                        {layout(1, 6, 3, 1, 6, 5), 13},
                                        {layout(2, 3, 3, 2, 4, 12), 24}}) {
    const ParallelPlan plan = ParallelPlan::make(parallel, world);
    std::vector<int> order(static_cast<size_t>(world));
    for (int i = 0; i < world; ++i)
      order[static_cast<size_t>(i)] = world - 1 - i;
    CAPTURE(plan.text());
    std::set<std::vector<int>> ulysses, ring, cfg, dit_tp;
    for (int64_t place = 0; place < plan.dp() * plan.replica(); ++place) {
      const GroupMembers groups = members_of(plan, order, place);
      const int rank = order[static_cast<size_t>(place)];
      for (const auto* members :
           {&groups.replica, &groups.cfg, &groups.ulysses, &groups.ring, &groups.sp, &groups.dit_tp})
        CHECK(std::count(members->begin(), members->end(), rank) == 1);
      CHECK(static_cast<int64_t>(groups.ulysses.size()) == plan.ulysses());
      CHECK(static_cast<int64_t>(groups.sp.size()) == plan.sp());
      ulysses.insert(groups.ulysses);
      ring.insert(groups.ring);
      cfg.insert(groups.cfg);
      dit_tp.insert(groups.dit_tp);
    }
    const int64_t busy = plan.dp() * plan.replica();
    CHECK(static_cast<int64_t>(ulysses.size()) == busy / plan.ulysses());
    CHECK(static_cast<int64_t>(ring.size()) == busy / plan.ring());
    CHECK(static_cast<int64_t>(cfg.size()) == busy / plan.cfg());
    CHECK(static_cast<int64_t>(dit_tp.size()) == busy / plan.dit_tp());
    CHECK(seat_of(plan, busy).replica == -1);
  }
}

TEST_CASE("groups are made by all ranks together") {
  const ParallelPlan plan = ParallelPlan::make(layout(2, 2, 2, 1, 3, 2), 5);
  test::run_ranks(5, [&](const Comm& world) {
    const Groups groups = make_groups(plan, world, {0, 0, 0, 0, 0});
    if (world.rank() == 4) {
      RUSHES_CHECK(groups.seat.replica == -1 && !groups.leads() && groups.replica.alone(), "rank 4 idles");
      return;
    }
    RUSHES_CHECK(groups.leads() == (world.rank() == 0), "who leads");
    RUSHES_CHECK(groups.replica.size() == 4 && groups.cfg.size() == 2 && groups.ring.size() == 2, "sizes");
    RUSHES_CHECK(groups.in_tp == (world.rank() < 3) && groups.in_vae == (world.rank() < 2), "who is in");
    at::Tensor one = at::ones({1});
    groups.ring.all_reduce_(one);
    groups.cfg.all_reduce_(one);
    if (groups.in_tp) groups.tp.all_reduce_(one);
    RUSHES_CHECK(one.item<float>() == (groups.in_tp ? 12 : 4), one.item<float>());
  });
}

}  // namespace
}  // namespace rushes
