#pragma once
// How a run ends, by rank 0's word: what is on disk is counted, swept, joined, compared and told of.

#include <filesystem>
#include <map>
#include <string>

#include "base/stop.h"
#include "base/timer.h"
#include "jobs/events.h"
#include "jobs/preparation.h"
#include "jobs/run_metrics.h"
#include "jobs/tally.h"
#include "jobs/time_limit.h"

namespace rushes {

/// Of rank 0. All that is referred to outlives the ending.
struct RunEndingParts {
  const RunRequest& request;
  const ResolvedJob& job;
  const Start& start;
  const LedgerRules& rules;
  const OutputFolder& folder;
  Residence& residence;
  EventLog& events;
  MetricsFile& metrics;
  const StopToken& stop;
  const TimeLimit& limit;
  const Timer& timer;          // since the run began
  const std::string& trouble;  // why this rank could not go on; "" where it could
  /// Checkpoints when the run began.
  const std::map<std::string, std::filesystem::file_time_type>& kept_before;
};

class RunEnding {
 public:
  explicit RunEnding(const RunEndingParts& parts) : parts_(parts) {}

  /// The model could not be loaded, which is `code`.
  void unbegun(int code) const;
  /// All is made that can be, or the run has to stop. Gives its exit code. `owners` has watched since the
  /// work began: who was silent on another host all the while is dead.
  int end(OwnerWatch& owners) const;

 private:
  int exit_code(const Tally& now) const;
  void sweep(const Tally& now, OwnerWatch& owners) const;
  int finish_dataset(int code) const;
  void make_contact_sheet(const Tally& now) const;
  int compare_with_references(int code) const;
  std::string why_stopped() const;
  void tell(const Tally& now, int code) const;
  void note_end(int code, int64_t done, int64_t failed, int64_t left) const;

  RunEndingParts parts_;
};

}  // namespace rushes
