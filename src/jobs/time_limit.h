#pragma once
// The time that a run has, where a batch system ends it: no clip is begun that neither can be through before
// nor be gone on with by the next run.

#include <optional>

#include "base/stop.h"
#include "jobs/job.h"

namespace rushes {

/// RUSHES_END_TIME, seconds since 1970; nothing where it is not set. Throws UserError for no such number.
std::optional<double> end_time();

class TimeLimit {
 public:
  /// None.
  TimeLimit() = default;
  /// `seconds` from now. `stop` counts as requested a little before: a twentieth of them, at most a minute.
  TimeLimit(double seconds, StopToken& stop);

  bool set() const { return set_; }
  /// Seconds until the stop.
  double left() const;

  /// A clip of this run is through.
  void learn(double flops, double seconds);
  /// Is there time for a clip? Nobody knows before the first one is through: then there is. `continues`: what
  /// is made of it is kept by a checkpoint, so a tenth of its time is enough.
  bool fits(double flops, bool continues) const;

 private:
  bool set_ = false;
  std::chrono::steady_clock::time_point stop_at_;
  double flops_ = 0;
  double seconds_ = 0;
};

}  // namespace rushes
