#pragma once
// Threads that take turns on a clock that jumps: only one runs at a time, and when all of them wait, the time
// becomes that of whoever waits least. What they do takes no time of this clock; the same threads with the
// same waits always run in the same order.

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

namespace rushes {

class VirtualTime {
 public:
  /// Runs each of the functions on a thread of its own, from time 0 on, and returns when all have. The first
  /// error that one of them throws is thrown here, when the others are through. Throws UserError where the
  /// machine gives so many threads to no process; then no function has run.
  void run(const std::vector<std::function<void()>>& functions);

  /// Seconds; for a thread of run().
  double now() const { return now_; }
  /// Waits, for a thread of run(). At the same moment whoever began to wait first comes first.
  void sleep(double seconds);

 private:
  struct Waiter {
    double time;
    uint64_t number;
    std::condition_variable* wake;
    bool* woken;
    bool operator<(const Waiter& other) const {  // of a heap whose top is the earliest
      return time != other.time ? time > other.time : number > other.number;
    }
  };
  void wait_turn(std::unique_lock<std::mutex>& lock, double time);
  void wake_next();

  std::mutex mutex_;
  std::priority_queue<Waiter> waiting_;
  uint64_t count_ = 0;
  double now_ = 0;
  bool cancelled_ = false;  // before anybody had the turn
};

}  // namespace rushes
