#pragma once
// How far a run is: read from the folder's files, drawn for people.

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "jobs/output_folder.h"
#include "jobs/owner.h"
#include "jobs/run_metrics.h"

namespace rushes {

/// What is to be made in all: the ids of the job's items with their work, as the last run noted them.
struct ManifestItem {
  std::string id;
  double flops = 0;
  std::optional<double> min_ssim = {};  // the prompt line's own, of job: regress
  bool knows_min_ssim = false;          // else the manifest is of an older version
};
std::string manifest_text(const std::vector<ManifestItem>& items);
/// Empty where there is none or it is broken.
std::vector<ManifestItem> read_manifest(const OutputFolder& folder);

struct ProgressView {
  int64_t total = 0;
  int64_t done = 0;
  int64_t failed = 0;
  double left_flops = 0;        // work of the items that are neither
  double flops_per_second = 0;  // of all owners together; 0: not known yet
  double stop_at = 0;           // when a time limit stops the run, in seconds since 1970; 0: none is known
  std::vector<OwnerStatus> owners;

  /// Seconds until the end, or a negative number where nobody can know.
  double eta() const;
  /// Seconds that a time limit leaves of now; nothing where none is known.
  std::optional<double> time_left() const;
};

/// "7 s", "3 min 12 s", "2 h 05 min"
std::string short_time(double seconds);
/// "rank 1 of 4 on host  red-circle  denoising 12/20  1.30 s/step", cut to `columns`.
std::string owner_line(const OwnerStatus& owner, size_t columns);
/// "12 of 48 done, 1 failed, about 3 h 12 min left" and, where that is so, ", 1 h 05 min before the time
/// limit".
std::string total_line(const ProgressView& view);
/// Every owner that has something to do and the total, a line each, at most `lines` lines.
std::string draw(const ProgressView& view, size_t columns, size_t lines);
/// The statuses in the owners' files, in the order of rank.
std::vector<OwnerStatus> read_owners(const OutputFolder& folder);

/// Follows events.jsonl from a thread of rank 0: one line an item, and on a terminal (RUSHES_TERMINAL=1, or
/// stderr is one) live lines below them.
class Progress {
 public:
  /// `view`: counts at the time when the events ended after `offset` bytes. Work that other runs do on the
  /// same folder counts as well. `metrics` is kept up to date.
  Progress(const OutputFolder& folder, std::vector<ManifestItem> items, ProgressView view, uint64_t offset,
           MetricsFile* metrics = nullptr);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void follow();
  void take_event(const nlohmann::json& event);
  void redraw();

  OutputFolder folder_;
  std::map<std::string, double> flops_;
  ProgressView view_;
  MetricsFile* metrics_;
  bool live_;
  size_t columns_;
  uint64_t offset_;
  double done_flops_ = 0;
  double first_start_ = 0;  // seconds_of() the first item_started
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace rushes
