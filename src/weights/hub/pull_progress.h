#pragma once
// How far a download is, for people: a line that stays in place on a terminal, else a line now and then.

#include <cstdint>
#include <mutex>
#include <string>

#include "base/timer.h"

namespace rushes::hub {

class PullProgress {
 public:
  /// `quiet`: shows nothing (ranks but the first).
  PullProgress(std::string name, bool quiet);
  ~PullProgress();
  PullProgress(const PullProgress&) = delete;
  PullProgress& operator=(const PullProgress&) = delete;

  /// More is to come: files of so many bytes in all.
  void expect(size_t files, uint64_t bytes);
  /// Bytes that were there already, by an earlier start.
  void resumed(uint64_t bytes);
  void received(uint64_t bytes);
  /// Bytes of either kind that turned out useless.
  void lost(uint64_t bytes);
  void file_done();
  /// The last line, with what was received and how fast.
  void end();

 private:
  void show();
  std::string line() const;

  const std::string name_;
  const bool quiet_;
  const bool terminal_;
  std::mutex mutex_;
  const Timer timer_;
  double shown_at_ = -1e9;
  size_t files_ = 0, files_done_ = 0;
  uint64_t all_ = 0, there_ = 0, received_ = 0;
};

/// "1.3 GB", "24.0 MB", "512 B": powers of ten, as the Hub's pages count.
std::string bytes_text(uint64_t bytes);

}  // namespace rushes::hub
