#pragma once
// Ends a world in which a rank hangs, or whose stop takes longer than there is time. Each rank looks after
// the next one (a lone rank after itself), by its owner's file: so a rank is missed too that is stopped,
// swapped out, or in a call to the system that does not return.

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/stop.h"
#include "base/timer.h"
#include "dist/world.h"
#include "jobs/claims.h"
#include "jobs/events.h"

namespace rushes {

struct WatchRules {
  double hang_seconds = 0;     // neither a step, a stage nor a file for so long: a hang; 0: never
  double grace_seconds = 0;    // between a stop's request and the end; 0: as long as the step takes
  bool busy_is_alive = false;  // a process that computes does not hang: on a CPU, where a step may take hours
};

/// RUSHES_GRACE in seconds, 0 where it is not set. Throws UserError for no such number.
double grace_seconds();

/// What is seen of a rank, over time.
class Headway {
 public:
  enum class Judgement { fine, hangs, silent };
  /// `now`: any steady clock's seconds. Hangs: it is alive, has something to do and gets nowhere. Silent: its
  /// file does not change.
  Judgement judge(const OwnerStatus& status, double now, const WatchRules& rules);
  /// Seconds since it last got anywhere.
  double idle(double now) const { return now - moved_at_; }

 private:
  OwnerStatus seen_;
  double moved_at_ = 0, beat_at_ = 0;
  double busy_then_ = 0;  // its CPU seconds at moved_at_
  bool first_ = true;
};

class Watchdog {
 public:
  struct Parts {
    World& world;
    const OutputFolder& folder;
    const Claims& claims;
    const EventLog& events;
    const StopToken& stop;
    std::string first;  // token of the world's rank 0
  };
  Watchdog(Parts parts, WatchRules rules);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch();
  void look_after_neighbour();
  void look_at_the_stop();
  [[noreturn]] void leave() const;

  Parts parts_;
  WatchRules rules_;
  Timer timer_;
  std::filesystem::path neighbour_;  // its owner's file
  Headway headway_;
  std::optional<double> asked_at_;  // to stop
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace rushes
