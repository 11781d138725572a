#include "weights/hub/pull_progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "base/env.h"
#include "base/log.h"

namespace rushes::hub {
namespace {

constexpr double kTerminalSeconds = 0.2, kLogSeconds = 30;
constexpr size_t kBarWidth = 24;

}  // namespace

std::string bytes_text(uint64_t bytes) {
  static const char* const kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit)
    value /= 1000;
  char text[32];
  snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

PullProgress::PullProgress(std::string name, bool quiet)
    : name_(std::move(name)),
      quiet_(quiet),
      terminal_(!quiet && (env(EnvVar::terminal) == "1" || ::isatty(STDERR_FILENO) == 1)) {}

PullProgress::~PullProgress() {
  if (terminal_) log_live("");
}

void PullProgress::expect(size_t files, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  files_ += files;
  all_ += bytes;
  show();
}

void PullProgress::resumed(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  there_ += bytes;
  show();
}

void PullProgress::received(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  there_ += bytes;
  received_ += bytes;
  show();
}

void PullProgress::lost(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  there_ -= std::min(there_, bytes);
}

void PullProgress::file_done() {
  const std::lock_guard lock(mutex_);
  ++files_done_;
  show();
}

/// "org/name [#####     ] 1.2 GB of 5.7 GB, 3 of 12 files, 45.1 MB/s, 1 min 40 s left"
std::string PullProgress::line() const {
  const double share = all_ == 0 ? 1 : static_cast<double>(there_) / static_cast<double>(all_);
  const auto full = std::min(kBarWidth, static_cast<size_t>(share * static_cast<double>(kBarWidth)));
  const double rate = static_cast<double>(received_) / std::max(0.1, timer_.seconds());
  std::string text = name_;
  if (terminal_) text += " [" + std::string(full, '#') + std::string(kBarWidth - full, ' ') + "]";
  text += str(" ", bytes_text(there_), " of ", bytes_text(all_), ", ", files_done_, " of ", files_, " files");
  if (received_ > 0) {
    text += ", " + bytes_text(static_cast<uint64_t>(rate)) + "/s";
    const double left = static_cast<double>(all_ - std::min(all_, there_)) / rate;
    if (left >= 1) text += str(", ", static_cast<int64_t>(left), " s left");
  }
  return text;
}

void PullProgress::show() {
  if (quiet_) return;
  const double now = timer_.seconds();
  if (shown_at_ < 0 && !terminal_) shown_at_ = now;  // the first line comes after a while only
  if (now - shown_at_ < (terminal_ ? kTerminalSeconds : kLogSeconds)) return;
  shown_at_ = now;
  if (terminal_)
    log_live(line() + "\n");
  else
    log_info(line());
}

void PullProgress::end() {
  const std::lock_guard lock(mutex_);
  if (terminal_) log_live("");
  if (quiet_ || files_done_ == 0) return;
  const double seconds = std::max(0.001, timer_.seconds());
  log_info(name_, ": ", files_done_, " files, ", bytes_text(received_), " received in ",
           std::llround(seconds), " s (",
           bytes_text(static_cast<uint64_t>(static_cast<double>(received_) / seconds)), "/s)");
}

}  // namespace rushes::hub
