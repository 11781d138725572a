#include "jobs/simulation.h"

#include "run_support.h"

using namespace rushes;
using namespace rushes::test;
using Catch::Contains;

namespace {

/// Clips of 30 to 90 s.
std::pair<ResolvedJob, SimulatedTimes> job_of(size_t count) {
  ResolvedJob job;
  SimulatedTimes times;
  for (size_t i = 0; i < count; ++i) {
    const double seconds = 30 + static_cast<double>(i % 7) * 10;
    job.items.push_back(item_of("item-" + std::to_string(i), 1, seconds));
    times.items.push_back(seconds);
  }
  times.load = 20;
  return {std::move(job), std::move(times)};
}

SimulationReport simulated(size_t count, const SimulationRules& rules) {
  const TemporaryFolder folder("/dev/shm");  // records are synced: a disk would take its time
  const auto [job, times] = job_of(count);
  return simulate(job, times, rules, folder.path(), StopToken());
}

double all_of(const SimulationReport& r) {
  return r.useful + r.failing + r.lost + r.loading + r.down + r.waiting + r.tail;
}

}  // namespace

TEST_CASE("without trouble a simulated run is nearly as short as it can be") {
  SimulationRules rules{.replicas = 20, .stragglers = 0, .spread = 0, .deaths_per_hour = 0};
  const SimulationReport report = simulated(1000, rules);
  CHECK(report.done == 1000);
  CHECK(report.begun == 1000);
  CHECK(report.whole());
  CHECK(report.deaths == 0);
  CHECK(report.useful == Approx(1000.0 / 7 * 420).epsilon(0.01));
  CHECK(report.seconds >= report.floor);
  CHECK(report.seconds < report.floor + 90);
  CHECK(report.efficiency(rules.replicas) > 0.95);
  CHECK(all_of(report) == Approx(20 * report.seconds).epsilon(0.001));
}

TEST_CASE("with stragglers, deaths and failures every item is done once or failed once") {
  SimulationRules rules{.replicas = 30, .stragglers = 0.1, .deaths_per_hour = 6, .failing = 0.01};
  const SimulationReport report = simulated(800, rules);
  CHECK(report.whole());
  CHECK(report.done + report.failed == 800);
  CHECK(report.failed > 0);
  CHECK(report.deaths > 20);
  CHECK(report.begun > 800);
  CHECK(report.lost > 0);
  CHECK(report.down > 0);
  CHECK(report.seconds > report.floor);
  CHECK(all_of(report) == Approx(30 * report.seconds).epsilon(0.001));

  // The same seed is the same run; another is another.
  const SimulationReport again = simulated(800, rules);
  CHECK(again.seconds == report.seconds);
  CHECK(again.deaths == report.deaths);
  rules.seed = 2;
  CHECK(simulated(800, rules).seconds != report.seconds);
}

TEST_CASE("more replicas than items, one replica, no items") {
  SimulationRules rules{.replicas = 30};
  CHECK(simulated(7, rules).done == 7);
  CHECK(simulated(0, rules).whole());
  rules.replicas = 1;
  CHECK(simulated(5, rules).done == 5);
}

TEST_CASE("a simulation can be stopped, and its rules are checked") {
  const TemporaryFolder folder;
  const auto [job, times] = job_of(100);
  StopToken stop;
  stop.request();
  CHECK_THROWS_AS(simulate(job, times, {}, folder.path(), stop), StoppedEarly);

  SimulationRules rules;
  Problems problems;
  set_rule(rules, "deaths=2.5", problems);
  set_rule(rules, "seed=9", problems);
  CHECK(problems.empty());
  CHECK(rules.deaths_per_hour == 2.5);
  CHECK(rules.seed == 9);
  for (const std::string wrong : {"death=1", "deaths", "deaths=", "deaths=-1", "deaths=nan", "slowdown=0.5",
                                  "seed=1.5", "failing=2", "=1", ""})
    set_rule(rules, wrong, problems);
  CHECK(problems.list().size() == 10);
  CHECK_THAT(problems.list()[0], Contains("--with death=1") && Contains("deaths"));
}
