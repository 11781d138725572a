#include "jobs/watchdog.h"

#include <catch2/catch.hpp>
#include <thread>

#include "base/timer.h"
#include "jobs/time_limit.h"

using namespace rushes;
using Judgement = Headway::Judgement;

namespace {

/// A rank in step `step` of a clip after `beat` beats.
OwnerStatus at_step(int64_t step, uint64_t beat, double cpu = 0) {
  OwnerStatus status;
  status.item = "clip";
  status.stage = "denoising";
  status.step = step;
  status.beat = beat;
  status.cpu_seconds = cpu;
  return status;
}

}  // namespace

TEST_CASE("a rank that gets no further hangs; one that steps, idles or is young does not") {
  const WatchRules rules{.hang_seconds = 100};
  Headway headway;
  CHECK(headway.judge(at_step(1, 1), 1000, rules) == Judgement::fine);
  CHECK(headway.judge(at_step(1, 2), 1099, rules) == Judgement::fine);
  CHECK(headway.judge(at_step(2, 3), 1150, rules) == Judgement::fine);
  CHECK(headway.judge(at_step(2, 4), 1249, rules) == Judgement::fine);
  CHECK(headway.judge(at_step(2, 5), 1251, rules) == Judgement::hangs);
  CHECK(headway.idle(1251) == 101);
  Headway idle;
  OwnerStatus nothing;
  for (uint64_t beat = 0; beat < 50; ++beat) {
    nothing.beat = beat;
    CHECK(idle.judge(nothing, 10.0 * static_cast<double>(beat), rules) == Judgement::fine);
  }
}

TEST_CASE("a rank whose file does not change is silent, whatever it did") {
  const WatchRules rules{.hang_seconds = 100};
  Headway headway;
  OwnerStatus nothing;
  nothing.beat = 7;
  CHECK(headway.judge(nothing, 0, rules) == Judgement::fine);
  CHECK(headway.judge(nothing, 99, rules) == Judgement::fine);
  CHECK(headway.judge(nothing, 100, rules) == Judgement::silent);
}

TEST_CASE("where computing counts, a long step is no hang until it computes no more") {
  const WatchRules rules{.hang_seconds = 100, .busy_is_alive = true};
  Headway headway;
  uint64_t beat = 0;
  for (double now = 0; now <= 1000; now += 10)  // a step of a thousand seconds on two cores
    CHECK(headway.judge(at_step(1, ++beat, now * 2), now, rules) == Judgement::fine);
  Judgement last = Judgement::fine;
  double now = 1000;
  while (last == Judgement::fine && now < 2000)
    last = headway.judge(at_step(1, ++beat, 2000), now += 10, rules);
  CHECK(last == Judgement::hangs);
  CHECK(now <= 1210);
  // On a GPU the host spins while it waits: that says nothing.
  Headway spinning;
  CHECK(spinning.judge(at_step(1, 1, 0), 0, {.hang_seconds = 100}) == Judgement::fine);
  CHECK(spinning.judge(at_step(1, 2, 150), 150, {.hang_seconds = 100}) == Judgement::hangs);
}

TEST_CASE("without rules nothing is judged") {
  Headway headway;
  CHECK(headway.judge(at_step(1, 1), 0, {}) == Judgement::fine);
  CHECK(headway.judge(at_step(1, 1), 1e9, {}) == Judgement::fine);
}

TEST_CASE("no clip is begun that does not end in time, unless a checkpoint carries it") {
  StopToken stop;
  TimeLimit none;
  CHECK(none.fits(1e30, false));
  TimeLimit limit(1000, stop);
  CHECK_FALSE(stop.requested());
  CHECK(limit.left() > 900);
  CHECK(limit.left() <= 950);      // a twentieth is kept to end in order
  CHECK(limit.fits(1e30, false));  // nobody knows yet
  limit.learn(1e12, 100);
  CHECK(limit.fits(5e12, false));
  CHECK_FALSE(limit.fits(9e12, false));  // 900 s, but they may become 990
  CHECK(limit.fits(9e12, true));
  CHECK_FALSE(limit.fits(2e14, true));  // not even a tenth of it
  limit.learn(1e12, 300);               // 200 s for 1e12 from here on
  CHECK_FALSE(limit.fits(5e12, false));
}

TEST_CASE("a time limit stops the run a little before its end") {
  StopToken stop;
  const Timer timer;
  const TimeLimit limit(0.5, stop);
  const bool at_once = stop.requested();
  if (timer.seconds() < 0.4) CHECK_FALSE(at_once);  // unless a busy machine let it stand that long
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  CHECK(stop.requested());
  CHECK(stop.timed_out());
  CHECK_THROWS_AS(stop.check("the next step"), StoppedEarly);
  CHECK(limit.left() < 0);
  CHECK_FALSE(StopToken().timed_out());
}
