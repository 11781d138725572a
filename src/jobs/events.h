#pragma once
// events.jsonl: one JSON object a line, appended by every process that works on the folder. CONTRIBUTING.md,
// "The event log", has every event with its fields; tests/e2e/test_events.py holds the two together.

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace rushes {

/// In every `run_started`: what the lines look like. Fields and events may be added to it; where one changes
/// its meaning or goes, the number grows.
inline constexpr const char* kEventsSchema = "rushes.events/1";

class EventLog {
 public:
  /// `rank` and `run` go into each line.
  EventLog(std::filesystem::path path, int rank, std::string run);

  /// Appends {"time", "event", "rank", "run", ...fields} by one write() under the file's lock, after a
  /// newline where a process that died left half a line. A full disk loses the event with a warning, never
  /// the run.
  void add(const std::string& event, nlohmann::json fields) const;

 private:
  std::filesystem::path path_;
  int rank_;
  std::string run_;
};

/// "2026-11-21T09:30:00.123Z"
std::string utc_now();
/// The same back into seconds since 1970; 0 where the text is no such time.
double seconds_of(const std::string& utc);

/// Reads events from byte `offset` on and gives each whole line's object to `each`; returns the offset after
/// the last whole line. Lines that are no JSON objects are left out.
uint64_t read_events(const std::filesystem::path& path, uint64_t offset,
                     const std::function<void(const nlohmann::json&)>& each);

}  // namespace rushes
