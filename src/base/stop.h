#pragma once
// The wish to stop, passed by reference to whoever works in steps. Set from a signal handler or by the clock,
// read between steps.

#include <atomic>
#include <chrono>

#include "base/error.h"

namespace rushes {

class StopToken {
 public:
  /// Async-signal-safe.
  void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
  /// From then on it counts as requested too.
  void request_at(std::chrono::steady_clock::time_point when) noexcept {
    at_.store(when.time_since_epoch().count(), std::memory_order_relaxed);
  }
  bool requested() const noexcept { return requested_.load(std::memory_order_relaxed) || timed_out(); }
  /// By the clock.
  bool timed_out() const noexcept {
    const auto at = at_.load(std::memory_order_relaxed);
    return at != 0 && std::chrono::steady_clock::now().time_since_epoch().count() >= at;
  }
  /// Throws StoppedEarly, naming what was about to be done.
  void check(const char* before_what) const {
    if (requested()) throw StoppedEarly(str("stopped before ", before_what));
  }

 private:
  std::atomic<bool> requested_{false};
  std::atomic<std::chrono::steady_clock::rep> at_{0};
};

}  // namespace rushes
