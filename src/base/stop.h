#pragma once
// The wish to stop, passed by reference to whoever works in steps. Set from a signal handler, read between
// steps.

#include <atomic>

#include "base/error.h"

namespace rushes {

class StopToken {
 public:
  /// Async-signal-safe.
  void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
  bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }
  /// Throws StoppedEarly, naming what was about to be done.
  void check(const char* before_what) const {
    if (requested()) throw StoppedEarly(str("stopped before ", before_what));
  }

 private:
  std::atomic<bool> requested_{false};
};

}  // namespace rushes
