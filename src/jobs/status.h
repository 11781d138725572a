#pragma once
// `rushes status`: how far the runs over an output folder are, seen from outside, while they run and after.

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "jobs/progress.h"

namespace rushes {

struct StatusReport {
  ProgressView view;
  std::vector<std::string> dead;  // owners that died; a rerun takes over what they left
  std::vector<std::pair<std::string, std::string>> failures;  // id, error
  std::string last_event;     // "run_ended with exit code 0 at 2026-11-21T09:30:00.123Z"
  double clips_per_hour = 0;  // in the latest run; 0: not known yet
  bool running = false;       // somebody alive works on it
};

/// Looks at a folder again and again; items that are settled and events are not read twice.
class StatusReader {
 public:
  /// Throws UserError where `root` is no output folder.
  explicit StatusReader(const std::filesystem::path& root);
  StatusReport look();

 private:
  /// What the events told of the latest run so far.
  struct LatestRun {
    double first_start = 0;
    double last_done = 0;
    std::vector<std::string> done;        // ids; one that was made twice stands twice
    std::map<std::string, double> stops;  // of every run with a time limit: when, in seconds since 1970
    std::string ended;

    void take(const nlohmann::json& event);
  };

  OutputFolder folder_;
  OwnerWatch watch_;
  LatestRun latest_;
  uint64_t events_read_ = 0;                    // bytes of events.jsonl
  std::map<std::string, std::string> settled_;  // id -> "" (done) or the error
  std::string fresh_;                           // a --fresh run that is not through: only what it made counts
};

/// The report in lines, for people.
std::string status_text(const StatusReport& report, const std::filesystem::path& root, size_t columns);

}  // namespace rushes
