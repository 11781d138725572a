#pragma once
// What carries bytes among the ranks of a group. One primitive, an exchange of pieces between pairs of ranks,
// is all that a library must offer; comm.h makes every collective of it, so that all of them work alike (and
// add in the same order) over threads, MPI, NCCL and in a dry run.

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rushes {

/// One side of a transfer: contiguous memory that is sent to or filled by `peer`. Without elements nothing is
/// transferred.
struct Piece {
  int peer = 0;
  at::Tensor data;
};

/// What was handed to the library by this rank, and how long it stood still for it.
struct Traffic {
  int64_t bytes_sent = 0;
  int64_t messages_sent = 0;
  double waited =
      0;  // seconds in Pending::wait, for slower partners too; on a GPU only the host's, next to none

  Traffic& operator+=(const Traffic& other) {
    bytes_sent += other.bytes_sent;
    messages_sent += other.messages_sent;
    waited += other.waited;
    return *this;
  }
};

/// What a rank is doing, for the words of a timeout, and how long it waits for others.
struct CommWatch {
  double timeout_seconds = 1800;
  std::string stage;  // "denoising"; set by whoever runs the stages
};

/// Another rank did not answer in time. The run cannot go on: its partners may be waiting anywhere.
class CommTimeout : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How long an exchange waits: as the watch says, or for ever (for the next clip, which may take hours).
enum class Patience { watched, endless };

/// An exchange on its way. Its tensors live until wait() has returned.
class Pending {
 public:
  virtual ~Pending() = default;
  /// On a CPU: returns when all has arrived and left. On a GPU: what the caller queues on its current stream
  /// from now on comes after it. Throws CommTimeout.
  virtual void wait() = 0;
};

class Transport {
 public:
  Transport(int rank, int size) : rank_(rank), size_(size) {}
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const Traffic& traffic() const { return traffic_; }
  /// Notes that the rank stood still.
  void waited(double seconds) { traffic_.waited += seconds; }

  /// Begins to send and to receive. None goes to this rank itself; what one rank sends another must expect,
  /// with as many bytes. Between two ranks pieces arrive in the order in which they were sent. `what` names
  /// the collective in messages.
  virtual std::unique_ptr<Pending> exchange(std::vector<Piece> sends, std::vector<Piece> receives,
                                            const std::string& what, Patience patience) = 0;
  /// A group of some of these ranks, in the order of `members`; called by those, all with the same list and
  /// tag.
  virtual std::unique_ptr<Transport> subgroup(const std::vector<int>& members, int tag) = 0;
  /// "local", "mpi", "nccl", "dry_run"
  virtual std::string name() const = 0;
  /// Who a rank of this group is, for messages: "rank 3 (node07)".
  virtual std::string member(int rank) const = 0;

 protected:
  void count(int64_t bytes) {
    traffic_.bytes_sent += bytes;
    ++traffic_.messages_sent;
  }

 private:
  int rank_, size_;
  Traffic traffic_;
};

/// `count` ranks of this process, for as many threads, on the CPU or on one GPU. A rank's exchange ends when
/// its partners have copied. Everything lives until the last of them goes.
std::vector<std::unique_ptr<Transport>> make_local_transports(int count, std::shared_ptr<CommWatch> watch);

/// Stands for one rank of `size`: counts what it would send; what it would receive is left as it is.
std::unique_ptr<Transport> make_dry_transport(int rank, int size);

}  // namespace rushes
