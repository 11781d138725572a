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
  write_aside(lock);
  changed_.wait(lock, [this] { return queue_.size() < waiting_ || trouble_ || bug_; });
  if (trouble_ || bug_) return;
  queue_.push_back(std::move(delivery));
  changed_.notify_all();
}

void Writer::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return (queue_.empty() && !busy_) || trouble_ || bug_; });
  write_aside(lock);
}

size_t Writer::set_aside() const {
  const std::lock_guard lock(mutex_);
  return aside_.size();
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
    changed_.wait(lock, [this] { return (ending_ || !queue_.empty()) && !busy_; });
    if (queue_.empty()) return;
    take(lock);
  }
}

/// Writes the first of the queue.
void Writer::take(std::unique_lock<std::mutex>& lock) {
  Delivery delivery = std::move(queue_.front());
  queue_.pop_front();
  if (trouble_ || bug_) return;
  if (!write_one(lock, delivery, /*alone=*/waiting_ == 0)) aside_.push_back(std::move(delivery));
}

/// On the thread that makes clips, which makes none now.
void Writer::write_aside(std::unique_lock<std::mutex>& lock) {
  while (!aside_.empty()) {
    changed_.wait(lock, [this] { return !busy_; });
    if (trouble_ || bug_) return;
    Delivery delivery = std::move(aside_.front());
    aside_.pop_front();
    write_one(lock, delivery, /*alone=*/true);
  }
}

/// Without the lock, and nobody else writes meanwhile. False where memory was short and the clip is to be
/// written later, `alone`; else it is freed.
bool Writer::write_one(std::unique_lock<std::mutex>& lock, Delivery& delivery, bool alone) {
  busy_ = true;
  changed_.notify_all();
  lock.unlock();
  bool through = true;
  std::optional<std::string> trouble;
  std::exception_ptr bug;
  try {
    through = write(delivery, alone);
  } catch (const UserError& error) {
    trouble = error.what();
  } catch (const std::bad_alloc&) {
    trouble = "out of memory while writing";
  } catch (...) {
    bug = std::current_exception();
  }
  if (through) delivery = {};  // frees the clip before waiting
  lock.lock();
  busy_ = false;
  if (trouble) trouble_ = std::move(trouble);
  if (bug) bug_ = bug;
  changed_.notify_all();
  return through;
}

bool Writer::write(const Delivery& delivery, bool alone) {
  owner_.announce([&](OwnerStatus& status) { status.writing = delivery.item->id; });
  std::string error;
  bool later = false;
  try {
    publisher_.deliver(delivery);
  } catch (const InternalError&) {
    throw;
  } catch (const std::exception& problem) {
    const bool shortage = memory_shortage(problem).has_value();
    later = shortage && !alone;
    error = shortage ? "out of memory" : message_of(problem);
  }
  if (later) {
    log_warning("item ", delivery.item->id,
                ": no memory to write it beside the next clip; it is written after that");
  } else if (!error.empty()) {
    if (is_disk_trouble(error, folder_.hidden())) fail(error);
    // The disk is well, so it is this clip that cannot be written.
    log_warning("item ", delivery.item->id, " failed while writing: ", error);
    publisher_.fail_item(*delivery.item, "writing: " + error, delivery.attempts, delivery.memory);
  }
  owner_.change([](OwnerStatus& status) { status.writing.clear(); });
  if (later) return false;
  try {
    publisher_.join_shards(/*all=*/false);
  } catch (const UserError& problem) {
    if (is_disk_trouble(problem.what(), folder_.hidden())) throw;
    log_warning("clips stay in the spool: ", problem.what());  // until the end of the run, or the next
  }
  return true;
}

}  // namespace rushes
