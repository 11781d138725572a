#include "jobs/writer.h"

#include "base/log.h"
#include "device/torch_error.h"

namespace rushes {

Writer::Writer(Publisher& publisher, Owner& owner, const OutputFolder& folder, size_t waiting)
    : publisher_(publisher), owner_(owner), folder_(folder), waiting_(waiting) {
  if (waiting_ > 0) thread_ = std::thread([this] { work(); });
}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Writer::submit(Delivery delivery) {
  std::unique_lock lock(mutex_);
  if (waiting_ == 0) {
    queue_.push_back(std::move(delivery));
    return take(lock);
  }
  changed_.wait(lock, [this] { return queue_.size() < waiting_ || trouble_ || bug_; });
  if (trouble_ || bug_) return;
  queue_.push_back(std::move(delivery));
  changed_.notify_all();
}

void Writer::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return (queue_.empty() && !busy_) || trouble_ || bug_; });
}

std::optional<std::string> Writer::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

void Writer::rethrow_bug() const {
  const std::lock_guard lock(mutex_);
  if (bug_) std::rethrow_exception(bug_);
}

void Writer::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) return;
    take(lock);
  }
}

/// Writes the first of the queue.
void Writer::take(std::unique_lock<std::mutex>& lock) {
  Delivery delivery = std::move(queue_.front());
  queue_.pop_front();
  if (trouble_ || bug_) return;
  busy_ = true;
  changed_.notify_all();
  lock.unlock();
  std::optional<std::string> trouble;
  std::exception_ptr bug;
  try {
    write(delivery);
  } catch (const UserError& error) {
    trouble = error.what();
  } catch (...) {
    bug = std::current_exception();
  }
  delivery = {};  // frees the clip before waiting
  lock.lock();
  busy_ = false;
  if (trouble) trouble_ = std::move(trouble);
  if (bug) bug_ = bug;
  changed_.notify_all();
}

void Writer::write(const Delivery& delivery) {
  owner_.announce([&](OwnerStatus& status) { status.writing = delivery.item->id; });
  std::string error;
  try {
    publisher_.deliver(delivery);
  } catch (const InternalError&) {
    throw;
  } catch (const std::exception& problem) {
    error = message_of(problem);
  }
  if (!error.empty()) {
    if (is_disk_trouble(error, folder_.hidden())) fail(error);
    // The disk is well, so it is this clip that cannot be written.
    log_warning("item ", delivery.item->id, " failed while writing: ", error);
    publisher_.fail_item(*delivery.item, "writing: " + error, delivery.attempts);
  }
  owner_.change([](OwnerStatus& status) { status.writing.clear(); });
  try {
    publisher_.join_shards(/*all=*/false);
  } catch (const UserError& problem) {
    if (is_disk_trouble(problem.what(), folder_.hidden())) throw;
    log_warning("clips stay in the spool: ", problem.what());  // until the end of the run, or the next
  }
}

}  // namespace rushes
