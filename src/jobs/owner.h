#pragma once
// Who works on an output folder: each process has a token and a file with a heartbeat, and others can tell
// whether it still lives.
//
// Token: <host>-<8 hex digits of the kernel: boot id and pid namespace>.<pid>.<start time in ticks since
// boot>. It names one process for all time: a pid used again has another start time, a rebooted or cloned
// host another boot id, a container another pid namespace. It goes into claims and names of temporary files.

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "base/timer.h"

namespace rushes {

struct OwnerId {
  std::string host;  // with the kernel's digits
  int64_t pid = 0;
  uint64_t start = 0;

  std::string token() const;
  static std::optional<OwnerId> parse(const std::string& token);
  bool operator==(const OwnerId&) const = default;
};

/// The calling process.
OwnerId this_process();
/// Start time of process `pid` in ticks since boot; nothing where there is none, or only a zombie.
std::optional<uint64_t> process_start(int64_t pid);

/// What an owner tells of itself; read by `status` and by the live progress.
struct OwnerStatus {
  std::string token;
  std::string run;  // the run it belongs to (see RunOptions)
  std::string job;  // the batch system's job id, if any
  int rank = 0;
  int world = 1;
  std::string item;     // being made; "" between items
  std::string writing;  // being encoded and written
  std::string helps;    // being made by the replica that this rank follows in
  std::string stage;
  int64_t step = 0;  // steps done, of `steps`
  int64_t steps = 0;
  double seconds_per_step = 0;
  double item_seconds = 0;  // since the item began
  uint64_t beat = 0;        // grows while the process lives
  double cpu_seconds = 0;   // that all its threads have computed
  std::string first;        // token of its world's rank 0
  int crash = 0;            // the signal of its own that ended it (SIGSEGV, SIGABRT, ...), 0: none known
};
nlohmann::json to_json(const OwnerStatus& status);  // all but `crash`
/// Nothing where the text is no such thing; never throws.
std::optional<OwnerStatus> owner_status_from(const std::string& text);
std::optional<OwnerStatus> read_owner_status(const std::filesystem::path& file);

/// This process's presence in a folder of owners: makes `<folder>/<token>.json`, rewrites it in place every
/// `period` seconds from a thread of its own (no new disk space is needed for that), and removes it at the
/// end; with period 0 only announce() writes it. Throws UserError where the file cannot be made.
class Owner {
 public:
  Owner(std::filesystem::path folder, OwnerStatus status, double period = 2.0);
  ~Owner();
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  const std::string& token() const { return token_; }
  /// Changes the status; others see it within a second.
  void change(const std::function<void(OwnerStatus&)>& edit);
  /// Changes the status and writes it at once.
  void announce(const std::function<void(OwnerStatus&)>& edit);
  OwnerStatus status() const;
  /// The owner's file, for mark_crashes().
  const std::filesystem::path& path() const { return path_; }

 private:
  void beat();
  void write_locked();

  std::filesystem::path path_;
  std::string token_;
  double period_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  OwnerStatus status_;
  Timer written_;  // since the file was written
  bool ending_ = false;
  std::thread thread_;
};

/// From now on a signal that ends this process for what it did itself (SIGSEGV, SIGBUS, SIGFPE, SIGILL,
/// SIGABRT) leaves its number in the last byte of the owner's file first: it tells a crash from a process
/// that was killed. For the main thread even where the stack ran over.
void mark_crashes(const std::filesystem::path& owner_file);

/// Tells the dead from the living. Same kernel: the process table decides. Another host: its file has not
/// changed while this process watched it for `patience` seconds of this process's own clock; no clocks of two
/// hosts are compared.
class OwnerWatch {
 public:
  using Clock = std::function<double()>;  // seconds, monotonic
  explicit OwnerWatch(std::filesystem::path folder, double patience = 30.0, Clock clock = {});

  bool is_dead(const std::string& token);
  /// Does a token name a process that this kernel can look up?
  bool is_local(const std::string& token) const;

 private:
  struct Seen {
    std::string content;  // hash of the file, "" where there is none
    double since = 0;
  };
  std::filesystem::path folder_;
  double patience_;
  Clock clock_;
  OwnerId self_;
  std::mutex mutex_;
  std::map<std::string, Seen> seen_;
};

}  // namespace rushes
