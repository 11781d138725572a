#include "jobs/run_metrics.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "jobs/events.h"
#include "jobs/owner.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr double kPeriod = 15;  // seconds between two writes

std::string folder_name(const OutputFolder& folder) {
  fs::path root = fs::absolute(folder.root()).lexically_normal();
  if (!root.has_filename()) root = root.parent_path();  // "runs/demo/"
  return root.filename().string();
}

/// Backslash, double quote and line feed are what the format escapes in a label's value.
std::string label_value(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\' || c == '"') escaped += '\\';
    if (c == '\n') {
      escaped += "\\n";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string number(double value) {
  char text[64];
  snprintf(text, sizeof text, "%.15g", value);
  return text;
}

class Exposition {
 public:
  explicit Exposition(const RunFigures& figures)
      : labels_(str("job=\"", label_value(figures.job), "\",model=\"", label_value(figures.model), "\"")) {}

  void begin(const std::string& name, const char* type, const char* help) {
    text_ += str("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
  }
  void sample(const std::string& name, double value, const std::string& more_labels = "") {
    text_ += str(name, "{", labels_, more_labels, "} ", number(value), "\n");
  }
  void gauge(const std::string& name, const char* help, double value) {
    begin(name, "gauge", help);
    sample(name, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string labels_, text_;
};

/// Earlier starts over the folder: the lines that say so, found without reading them as JSON, since a log of
/// a million clips has hundreds of megabytes.
int64_t count_starts(const fs::path& events) {
  static const std::string kStart = "\"event\":\"run_started\"";
  std::ifstream file(events, std::ios::binary);
  std::string window;
  std::string piece(1 << 20, '\0');
  int64_t starts = 0;
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    window.append(piece, 0, static_cast<size_t>(file.gcount()));
    for (size_t at = window.find(kStart); at != std::string::npos; at = window.find(kStart, at + 1))
      ++starts;
    // One that lies across two pieces is found whole with the next.
    window.erase(0, window.size() - std::min(window.size(), kStart.size() - 1));
  }
  return starts;
}

/// Renamed into place, so that a reader finds a whole file; not synced, as the next one comes soon.
void replace_file(const fs::path& path, const std::string& text) {
  if (const std::string problem = file_problem(path); !problem.empty())
    fail("cannot write ", path.string(), ": ", problem,
         "; the job's key metrics is a file (.prom) in a folder that is there, or that folder");
  // The collector reads every name that ends in .prom.
  const fs::path beside =
      path.parent_path() / str(".", path.filename().string(), ".", this_process().token(), ".tmp");
  std::FILE* const file = std::fopen(beside.c_str(), "wbe");
  bool good = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  int why = errno;
  if (file != nullptr && std::fclose(file) != 0 && good) {
    good = false;
    why = errno;
  }
  if (good && ::rename(beside.c_str(), path.c_str()) == 0) return;
  if (good) why = errno;
  ::unlink(beside.c_str());
  fail("cannot write ", path.string(), ": ", std::strerror(why));
}

}  // namespace

std::string exposition(const RunFigures& f) {
  Exposition out(f);
  out.begin("rushes_clips", "gauge", "Clips of the job by state, whoever made them.");
  for (const auto& [state, count] :
       {std::pair("done", f.done), std::pair("failed", f.failed), std::pair("left", f.left)})
    out.sample("rushes_clips", static_cast<double>(count), str(",state=\"", state, "\""));
  out.gauge("rushes_queue_clips", "Clips that are left and that this run does not make just now.",
            static_cast<double>(std::max<int64_t>(0, f.left - f.running)));
  out.begin("rushes_clips_made_total", "counter", "Clips that this run has made.");
  out.sample("rushes_clips_made_total", static_cast<double>(f.made));
  out.begin("rushes_clip_seconds", "summary", "Seconds to make a clip, of those that this run has made.");
  out.sample("rushes_clip_seconds_sum", f.clip_seconds);
  out.sample("rushes_clip_seconds_count", static_cast<double>(f.made));
  const double device_seconds = static_cast<double>(f.ranks) * f.seconds;
  out.gauge("rushes_clips_per_device_hour", "Clips that this run has made for each hour of each rank.",
            device_seconds > 0 ? 3600 * static_cast<double>(f.made) / device_seconds : 0);
  out.gauge("rushes_busy_share", "Share of this run's ranks' time spent inside clips, 0 to 1.",
            device_seconds > 0 ? std::clamp(f.busy_seconds / device_seconds, 0.0, 1.0) : 0);
  out.gauge("rushes_ranks", "Ranks of this run, one a device.", static_cast<double>(f.ranks));
  out.gauge("rushes_restarts", "Starts over the output folder before this one.",
            static_cast<double>(f.restarts));
  out.gauge("rushes_run_seconds", "Seconds since this run began.", f.seconds);
  out.gauge("rushes_updated_timestamp_seconds", "When these figures were taken, since 1970.", f.time);
  if (f.exit_code)
    out.gauge("rushes_exit_code", "How this run ended; not there while it goes on.", *f.exit_code);
  return out.take();
}

fs::path metrics_path(const std::string& asked, const OutputFolder& folder) {
  if (asked.empty()) return folder.root() / "metrics.prom";
  if (fs::path(asked).extension() == ".prom") return asked;
  return fs::path(asked) / ("rushes-" + folder_name(folder) + ".prom");
}

MetricsFile::MetricsFile(const OutputFolder& folder, const WorkPlace& work, const std::string& asked,
                         Facts facts)
    : path_(metrics_path(asked, folder)),
      inside_(asked.empty()),
      work_(work),
      events_(folder.events()),
      facts_(std::move(facts)) {
  figures_.job = folder_name(folder);
  figures_.model = facts_.model;
  figures_.ranks = facts_.ranks;
}

void MetricsFile::take_event(const nlohmann::json& event) {
  const auto text = [&](const char* key) {
    const auto at = event.find(key);
    return at != event.end() && at->is_string() ? at->get<std::string>() : std::string();
  };
  if (text("run") != facts_.run) return;
  const std::string name = text("event"), id = text("id");
  const double time = seconds_of(text("time"));
  if (name == "item_started") {
    started_[id] = time;
    return;
  }
  if (name != "item_done" && name != "item_failed" && name != "item_stopped") return;
  const auto began = started_.find(id);
  double took = began != started_.end() ? std::max(0.0, time - began->second) : 0;
  if (began != started_.end()) started_.erase(began);
  if (name == "item_done") {
    // Written by another thread, while the next clip was being made: only the making counts.
    const auto at = event.find("seconds");
    took = at != event.end() && at->is_number() ? at->get<double>() : took;
    ++figures_.made;
    figures_.clip_seconds += took;
  }
  finished_seconds_ += took;
}

void MetricsFile::update(int64_t done, int64_t failed, int64_t total) {
  if (since_written_ && since_written_->seconds() < kPeriod) return;
  figures_.done = done;
  figures_.failed = failed;
  figures_.left = std::max<int64_t>(0, total - done - failed);
  write();
}

void MetricsFile::end(int64_t done, int64_t failed, int64_t left, int exit_code) {
  figures_.done = done;
  figures_.failed = failed;
  figures_.left = left;
  figures_.exit_code = exit_code;
  started_.clear();
  write();
}

void MetricsFile::write() {
  // At the first time only: its own start is among them.
  if (!since_written_) figures_.restarts = std::max<int64_t>(0, count_starts(events_) - 1);
  since_written_ = Timer();
  figures_.time = seconds_of(utc_now());
  figures_.seconds = since_start_.seconds();
  figures_.running = static_cast<int64_t>(started_.size());
  double inside = finished_seconds_;
  for (const auto& [id, time] : started_)
    inside += std::clamp(figures_.time - time, 0.0, figures_.seconds);
  figures_.busy_seconds = inside * static_cast<double>(facts_.ranks_of_a_clip);
  try {
    const std::string text = exposition(figures_);
    if (inside_) {
      work_.write_file(path_, text);
    } else {
      replace_file(path_, text);
    }
  } catch (const std::exception& error) {
    if (!warned_) log_warning("no metrics for Prometheus: ", error.what());
    warned_ = true;
  }
}

}  // namespace rushes
