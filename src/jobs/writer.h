#pragma once
// The thread that writes clips while the next one is made.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "jobs/owner.h"
#include "jobs/publisher.h"

namespace rushes {

class Writer {
 public:
  /// At most `waiting` clips wait behind the one being written; with 0 there is no thread, and submit()
  /// returns when its clip is written. All three must outlive the writer.
  Writer(Publisher& publisher, Owner& owner, const OutputFolder& folder, size_t waiting = 2);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Takes the clip; waits while the queue is full. After trouble it is dropped (its claim stays). Where
  /// memory ran out while a clip was written, beside the making of the next one, that clip is written now,
  /// when none is made; if there is no room for it even so it fails.
  void submit(Delivery delivery);
  /// Waits until all is written.
  void drain();
  /// Clips that wait for more memory.
  size_t set_aside() const;
  /// Why nothing can be written any more: the disk, never a clip. Then the run has to stop.
  std::optional<std::string> trouble() const;
  /// An error that only a bug can cause is thrown here, on the caller's thread.
  void rethrow_bug() const;

 private:
  void work();
  void take(std::unique_lock<std::mutex>& lock);
  void write_aside(std::unique_lock<std::mutex>& lock);
  bool write_one(std::unique_lock<std::mutex>& lock, Delivery& delivery, bool alone);
  bool write(const Delivery& delivery, bool alone);

  Publisher& publisher_;
  Owner& owner_;
  OutputFolder folder_;
  size_t waiting_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Delivery> queue_;
  std::deque<Delivery> aside_;  // there was no memory to write them beside another clip's making
  bool busy_ = false;
  bool ending_ = false;
  std::optional<std::string> trouble_;
  std::exception_ptr bug_;
  std::thread thread_;
};

}  // namespace rushes
