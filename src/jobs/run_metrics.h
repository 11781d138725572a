#pragma once
// How a run goes, for Prometheus: a file in its text exposition format
// (https://prometheus.io/docs/instrumenting/exposition_formats), which node_exporter's textfile collector
// reads.

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/timer.h"
#include "jobs/output_folder.h"

namespace rushes {

/// What the file tells. "This run" is one start of the program, with all its ranks.
struct RunFigures {
  std::string job;                         // the output folder's name
  std::string model;                       // the model's folder or repository
  int64_t done = 0, failed = 0, left = 0;  // of the job's clips, whoever made them
  int64_t running = 0;                     // clips that this run makes just now
  int64_t made = 0;                        // by this run
  double clip_seconds = 0;                 // of making those
  double busy_seconds = 0;                 // of all ranks of this run together, inside clips
  double seconds = 0;                      // since this run began
  int64_t ranks = 1;
  int64_t restarts = 0;          // earlier starts over the folder
  double time = 0;               // of these figures, since 1970
  std::optional<int> exit_code;  // nothing while the run goes on
};

/// The figures in the text exposition format, each with HELP and TYPE and the labels job and model.
std::string exposition(const RunFigures& figures);

/// Where the file goes: `asked` is the job's `metrics`; "": metrics.prom in the output folder. A path that
/// does not end in .prom is a folder (the collector's), and the file there `rushes-<job>.prom`.
std::filesystem::path metrics_path(const std::string& asked, const OutputFolder& folder);

/// Keeps the file up to date for rank 0. What cannot be written is one warning and never ends a run.
class MetricsFile {
 public:
  /// Of this run.
  struct Facts {
    std::string run;  // names it in events
    std::string model;
    int64_t ranks = 1;
    int64_t ranks_of_a_clip = 1;
  };
  /// `work` must outlive this.
  MetricsFile(const OutputFolder& folder, const WorkPlace& work, const std::string& asked, Facts facts);

  /// An event of the folder's log.
  void take_event(const nlohmann::json& event);
  /// The job's clips as they are now; writes where the last time is 15 seconds ago.
  void update(int64_t done, int64_t failed, int64_t total);
  /// The last word.
  void end(int64_t done, int64_t failed, int64_t left, int exit_code);

 private:
  void write();

  std::filesystem::path path_;
  bool inside_;  // the output folder
  const WorkPlace& work_;
  std::filesystem::path events_;
  Facts facts_;
  RunFigures figures_;
  std::map<std::string, double> started_;  // items of this run that are being made, and when they began
  double finished_seconds_ = 0;            // of one rank, inside items that are not being made any more
  Timer since_start_;
  std::optional<Timer> since_written_;
  bool warned_ = false;
};

}  // namespace rushes
