#pragma once
// A clock to wait by, given to whoever waits, so that hours of waiting can be tried in seconds.

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/stop.h"
#include "base/timer.h"

namespace rushes {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Seconds since some moment; never goes back.
  virtual double now() const = 0;
  /// Waits; no longer than a moment after a stop is requested.
  virtual void sleep(double seconds, const StopToken& stop) const = 0;
};

/// The machine's.
class SteadyClock : public Clock {
 public:
  double now() const override { return timer_.seconds(); }
  void sleep(double seconds, const StopToken& stop) const override {
    constexpr double kSlice = 0.05;
    const Timer slept;
    while (!stop.requested() && slept.seconds() < seconds)
      std::this_thread::sleep_for(std::chrono::duration<double>(std::min(kSlice, seconds)));
  }

 private:
  Timer timer_;
};

}  // namespace rushes
