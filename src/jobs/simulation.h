#pragma once
// A run without ranks and weights: the real queue, claims, ledger, records and failure handling, over a
// folder of their own, with replicas that make nothing for as long as a clip is predicted to take, on a clock
// that jumps. Shows what stragglers and dying processes do to a job before it is given to a cluster.

#include <filesystem>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "base/stop.h"
#include "jobs/job.h"
#include "planner/cluster.h"

namespace rushes {

struct SimulationRules {
  int64_t replicas = 10;         // each a world of its own, as the tasks of a batch system's array are
  double stragglers = 0.02;      // share of the replicas that are slow
  double slowdown = 3;           // a clip takes these as many times as long
  double spread = 0.03;          // of a clip's time: the standard deviation of its logarithm
  double deaths_per_hour = 0.1;  // of a replica, by no fault of an item
  double restart_seconds = 120;  // from its death until it reads the weights again
  double failing = 0;            // share of the items that cannot be made
  int64_t seed = 1;
};

/// "stragglers=0.1" into the rule of that name. Notes what is wrong with it.
void set_rule(SimulationRules& rules, const std::string& text, Problems& problems);

/// What a job's clips take on one replica.
struct SimulatedTimes {
  std::vector<double> items;  // seconds, by item
  double load = 0;            // seconds, to read the weights
  std::string layout;         // of one replica and what it was predicted with, for people
};

/// With `rules.replicas` replicas of what `parallel` says (automatic axes: one rank) on the cluster's
/// devices. Throws UserError where that does not fit.
SimulatedTimes predicted_times(const ResolvedJob& job, const SimulationRules& rules, const Cluster& cluster);

struct SimulationReport {
  int64_t items = 0, done = 0, failed = 0;
  int64_t left = 0;   // neither: a bug, as is the next
  int64_t twice = 0;  // items published more than once
  int64_t begun = 0;  // tries, those that a death ended counted
  int64_t deaths = 0;
  // Seconds of the clock; the sums over the replicas add up to `replicas x seconds`.
  double seconds = 0;       // until the last item was settled
  double floor = 0;         // the least possible: the same work without deaths, all replicas busy to the end
  double useful = 0;        // sum: making clips that were kept
  double failing = 0;       // sum: making clips that fail
  double lost = 0;          // sum: making clips that a death took
  double loading = 0;       // sum: reading weights
  double down = 0;          // sum: between a death and the restart
  double waiting = 0;       // sum: alive with nothing to do, before the tail
  double tail = 0;          // sum: alive with nothing to do, from a replica's last clip to the end
  double wall_seconds = 0;  // that the simulation itself took

  double efficiency(int64_t replicas) const {
    return seconds > 0 ? useful / (seconds * static_cast<double>(replicas)) : 1;
  }
  bool whole() const { return left == 0 && twice == 0; }
};

/// `root`: an empty folder, on a file system in memory where there is one; everything in it is the
/// simulation's. Nothing of the job's own output is touched. Throws StoppedEarly.
SimulationReport simulate(const ResolvedJob& job, const SimulatedTimes& times, const SimulationRules& rules,
                          const std::filesystem::path& root, const StopToken& stop);

/// Lines for people.
std::vector<std::string> report_lines(const SimulationReport& report, const SimulatedTimes& times,
                                      const SimulationRules& rules);

/// The whole of it, for the command: loads the job for `cluster`'s devices (this machine's where none is
/// given), simulates in a folder that it removes, prints to `out`. Gives the exit code.
int simulate_job(const std::filesystem::path& file, const JobOverrides& overrides,
                 const std::optional<Cluster>& cluster, const SimulationRules& rules, const StopToken& stop,
                 std::ostream& out);

}  // namespace rushes
