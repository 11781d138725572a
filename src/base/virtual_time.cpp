#include "base/virtual_time.h"

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
  for (const auto& function : functions) {
    std::unique_lock lock(mutex_);
    threads.emplace_back([&, this] {
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
        function();
      } catch (...) {
        const std::lock_guard failed(mutex_);
        if (!error) error = std::current_exception();
      }
      const std::lock_guard end(mutex_);
      wake_next();
    });
    const size_t here = threads.size();
    changed.wait(lock, [&] { return arrived == here; });
  }
  {
    const std::lock_guard lock(mutex_);
    wake_next();
  }
  for (std::thread& thread : threads)
    thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace rushes
