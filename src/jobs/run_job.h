#pragma once
// `rushes run`: a job from its file to its exit code, on every rank of a world.

#include <filesystem>

#include "base/stop.h"
#include "dist/world.h"
#include "jobs/job.h"

namespace rushes {

struct RunRequest {
  std::filesystem::path job_file;
  JobOverrides overrides;
  bool fresh = false;         // makes every item again
  bool retry_failed = false;  // tries failed items again, however often they were tried
  bool verify = false;        // whole checksums of what is there
  int64_t noise_floor = 0;    // of job: regress: makes the clips once and N times more, and compares these
};

/// Collective: every rank calls it and gets the same exit code (README, "Exit codes"). Rank 0 validates and
/// prepares the folder before anything is written; then all ranks claim items. What is wrong is logged.
/// `stop` is told of a time limit. Throws InternalError for bugs; the caller then aborts the world.
int run_job(World& world, const RunRequest& request, StopToken& stop);

/// Seconds that a rank waits for another of its clip: RUSHES_RANK_TIMEOUT, else CommWatch's. Throws UserError
/// for one that is no number of seconds.
double rank_timeout();

/// Threads that this rank may use: RUSHES_THREADS, else its share of the cores. Throws UserError for a
/// RUSHES_THREADS that is no number from 1 to 1024.
int threads_of(const Place& place);

}  // namespace rushes
