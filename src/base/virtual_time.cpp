#include "base/virtual_time.h"

#include <string>
#include <system_error>

#include "base/error.h"

namespace rushes {

void VirtualTime::wait_turn(std::unique_lock<std::mutex>& lock, double time) {
  std::condition_variable wake;
  bool woken = false;
  waiting_.push({time, count_++, &wake, &woken});
  wake_next();
  wake.wait(lock, [&] { return woken; });
}

/// Hands the turn on; the caller has it no more.
void VirtualTime::wake_next() {
  if (waiting_.empty()) return;
  const Waiter next = waiting_.top();
  waiting_.pop();
  now_ = next.time;
  *next.woken = true;
  next.wake->notify_one();
}

void VirtualTime::sleep(double seconds) {
  std::unique_lock lock(mutex_);
  wait_turn(lock, now_ + (seconds > 0 ? seconds : 0));
}

void VirtualTime::run(const std::vector<std::function<void()>>& functions) {
  std::exception_ptr error;
  std::vector<std::thread> threads;
  std::condition_variable changed;
  size_t arrived = 0;
  now_ = 0;
  cancelled_ = false;
  std::string refused;
  for (const auto& function : functions) {
    std::unique_lock lock(mutex_);
    const auto body = [&, this] {
      {
        std::unique_lock begin(mutex_);
        // Not yet wait_turn(): nobody has the turn until all are there.
        std::condition_variable wake;
        bool woken = false;
        waiting_.push({0, count_++, &wake, &woken});
        ++arrived;
        changed.notify_one();
        wake.wait(begin, [&] { return woken; });
      }
      try {
        if (!cancelled_) function();
      } catch (...) {
        const std::lock_guard failed(mutex_);
        if (!error) error = std::current_exception();
      }
      const std::lock_guard end(mutex_);
      wake_next();
    };
    try {
      threads.emplace_back(body);
    } catch (const std::system_error& problem) {
      refused = problem.what();
      cancelled_ = true;
      break;
    }
    const size_t here = threads.size();
    changed.wait(lock, [&] { return arrived == here; });
  }
  {
    const std::lock_guard lock(mutex_);
    wake_next();
  }
  for (std::thread& thread : threads)
    thread.join();
  if (cancelled_)
    fail("cannot start ", functions.size(), " threads (", refused, "): take fewer, or raise ulimit -u");
  if (error) std::rethrow_exception(error);
}

}  // namespace rushes
