#include "dist/parallel_plan.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rushes;
using Catch::Contains;

TEST_CASE("auto gives every rank a clip of its own") {
  const ParallelPlan plan = ParallelPlan::make(Parallel{}, 5);
  CHECK(plan.dp() == 5);
  CHECK(plan.replica() == 1);
  CHECK(plan.idle() == 0);
  CHECK(plan.replica_of(4) == 4);
  CHECK(plan.text() == "5 ranks = dp 5 x replica 1 (cfg 1 x sp 1 [ring 1] x dit_tp 1), tp 1, vae 1");
}

TEST_CASE("fewer replicas than ranks leave ranks idle, and say so") {
  Parallel parallel;
  parallel.dp = 2;
  const ParallelPlan plan = ParallelPlan::make(parallel, 3);
  CHECK(plan.idle() == 1);
  CHECK(plan.replica_of(1) == 1);
  CHECK(plan.replica_of(2) == -1);
  CHECK_THAT(plan.text(), Contains("+ 1 idle"));
}

TEST_CASE("numbers that cannot hold print every factor") {
  const auto refused = [](Parallel parallel, int64_t world, const std::string& why) {
    CHECK_THROWS_WITH(ParallelPlan::make(parallel, world),
                      Contains(why) && Contains("dp") && Contains("cfg") && Contains("sp") &&
                          Contains("ring") && Contains("dit_tp") && Contains("vae"));
    CHECK_THROWS_AS(ParallelPlan::make(parallel, world), UserError);
  };
  Parallel p;
  p.dp = 4;
  refused(p, 3, "needs 4 ranks");
  p = {};
  p.sp = 3;
  p.ring = 2;
  refused(p, 6, "ring 2 does not divide sp 3");
  p = {};
  p.cfg = 3;
  refused(p, 6, "cfg can be 1 or 2");
  p = {};
  p.tp = 2;
  refused(p, 4, "tp 2 is more than the replica's 1");
  p = {};
  p.vae = 2;
  refused(p, 4, "vae 2 is more than the replica's 1");
  p = {};
  p.dp = 0;
  refused(p, 4, "dp must be a number from 1");
  p = {};
  p.sp = int64_t{1} << 62;
  refused(p, 4, "sp must be a number from 1");
}

TEST_CASE("a replica of many ranks") {
  Parallel p;
  p.cfg = 2;
  p.sp = 6;
  p.ring = 3;
  const ParallelPlan plan = ParallelPlan::make(p, 25);
  CHECK(plan.text() ==
        "25 ranks = dp 2 x replica 12 (cfg 2 x sp 6 [ring 3] x dit_tp 1) + 1 idle, tp 8, vae 8");
  CHECK(plan.ulysses() == 2);
}
