#pragma once
// Which layout a job's clips are made in: every candidate is predicted. Where every rank can have clips of
// its own, and a rank holds the model, each gets them; else the layout wins that ends the job first.

#include <string>
#include <vector>

#include "dist/parallel_plan.h"
#include "planner/predict.h"

namespace rushes {

/// Clips that cost the same.
struct ClipGroup {
  Sampling sampling;
  int64_t count = 1;
};

struct PlanQuestion {
  const Blueprint& blueprint;
  PipelineOptions options;
  std::vector<ClipGroup> clips;
  int64_t world = 1;
  Parallel parallel;
  Cluster cluster;       // as the file has it
  size_t most_best = 8;  // candidates to tell of
};

/// One layout with what it is predicted to take.
struct Candidate {
  ParallelPlan plan;
  double clip_seconds = 0;  // one clip on one replica, the mean over the job's
  double job_seconds = 0;   // until the last clip is done, with reading the weights
  double clips_per_hour = 0;
  Prediction worst;  // memory and bytes sent: of the clip that needs most
};

/// Layouts that were left out for one reason.
struct Refusal {
  std::string reason;
  int64_t layouts = 0;
};

struct PlanAnswer {
  std::vector<Candidate> best;  // the chosen one first, then by job_seconds; empty where nothing fits
  std::vector<Refusal> refused;
  std::string why;         // the chosen one wins; or nothing fits, and what to do
  int64_t considered = 0;  // layouts that were predicted
};

/// What the explicit numbers of `parallel:` get wrong for `world` ranks and these clips, whatever the
/// automatic ones become.
void check_parallel(const Parallel& parallel, int64_t world, bool all_guided, Problems& problems);

/// Throws UserError for what check_parallel notes. The same question has the same answer.
PlanAnswer choose_plan(const PlanQuestion& question);

/// The time until the last of the clips is done, longest first, each by the replica that is free first.
/// seconds[i]: of each of counts[i] clips.
double makespan(const std::vector<double>& seconds, const std::vector<int64_t>& counts, int64_t replicas);

}  // namespace rushes
