#pragma once
// The processes that were started together: who this one is, and the few things that all of them do at once.
// Not for tensors (that is Comm's): a World starts a run, ends it, and keeps the exit codes equal.

#include <memory>
#include <string>
#include <vector>

#include "dist/comm.h"

namespace rushes {

/// Exit codes that a run can end with, in the README's words.
enum ExitCode : int {
  kExitDone = 0,
  kExitBug = 1,
  kExitUsage = 2,
  kExitRegressed = 3,
  kExitFailedItems = 4,
  kExitStopped = 75,
};

/// Of two exit codes the one that a whole world ends with: 1 before 2 before 75 before 4 before 3 before 0;
/// any other code counts as 1.
int worse_exit_code(int a, int b);

/// Where a process stands among those that were started together.
struct Place {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // among the processes on the same node
  int local_size = 1;
  std::vector<int> nodes = {0};  // of every rank: the least rank on the same node (it shares its memory)
  std::string host;
  int cores =
      1;  // CPU cores this process may use, those it shares with others of the node divided, at least 1
};

class World {
 public:
  virtual ~World() = default;
  const Place& place() const { return place_; }
  int rank() const { return place_.rank; }
  int size() const { return place_.size; }

  // Collective: every rank calls the same ones in the same order, on the thread that made the World. They
  // wait asleep, not spinning, since a rank may wait hours for the others' last clips.

  /// Every rank gets the worst of all ranks' codes (see worse_exit_code).
  virtual int agree(int code) = 0;
  /// Every rank gets rank 0's text.
  virtual std::string broadcast(const std::string& text) = 0;

  /// For tensors in host memory: all ranks, in order.
  virtual Comm comm(std::shared_ptr<CommWatch> watch) = 0;

  /// Ends every process of the world at once, this one with `code`; for what must never happen.
  [[noreturn]] virtual void abort(int code) = 0;

 protected:
  explicit World(Place place) : place_(std::move(place)) {}

 private:
  Place place_;
};

/// A world of this process alone. Started by srun without PMI (SLURM_LOCALID, SLURM_STEP_TASKS_PER_NODE), it
/// still knows its place on the node.
std::unique_ptr<World> make_single_world();

/// Tasks on the node of `SLURM_STEP_TASKS_PER_NODE`-like text ("2(x3),1": nodes 0..2 have two, node 3 one);
/// the largest count where `node` is unknown (negative); 1 where the text is empty or cannot be read.
int tasks_on_node(const std::string& text, int node);

}  // namespace rushes
