#pragma once
// The loop of one rank: claim an item, make the clip, hand it to the writer, until nothing is left.

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "jobs/checkpoints.h"
#include "jobs/claims.h"
#include "jobs/crew.h"
#include "jobs/ledger.h"
#include "jobs/memory_ladder.h"
#include "jobs/publisher.h"
#include "jobs/queue.h"
#include "jobs/time_limit.h"
#include "jobs/writer.h"

namespace rushes {

struct RunnerParts {
  const ResolvedJob& job;
  Pipeline& pipeline;
  const OutputFolder& folder;
  Claims& claims;
  Owner& owner;
  Publisher& publisher;
  Writer& writer;
  const EventLog& events;
  EmbeddingStore* embeddings;
  const StopToken& stop;
  const Crew& crew;
  LedgerRules rules;
  const WorkOrder& order;
  const Clock& clock;
  size_t leader = 0, leaders = 1;            // this one of those that share the work at the end
  const Checkpoints* checkpoints = nullptr;  // optional
  TimeLimit* limit = nullptr;                // optional
};

/// Thrown by a simulation's pipeline or clock: the process is gone, and nothing of it may be tidied up.
struct ProcessDied {};

/// Which items a rank takes on.
enum class Round {
  ordinary,     // all but last chances
  last_chance,  // those too whose processes have died time and again
};

class Runner {
 public:
  explicit Runner(RunnerParts parts);

  /// Claims and makes items, longest first, until every item is done, failed, left for the last-chance round,
  /// or a stop was asked for; an item that runs out of memory climbs its MemoryLadder; waits for items that
  /// live processes elsewhere work on and takes over those of dead ones. Everything that was made is written
  /// when it returns. A failing item is recorded and the rest go on. Gives "" or why this rank cannot go on
  /// (the disk or the device, never an item). Throws InternalError for bugs outside of an item's own work.
  std::string work(Round round);

 private:
  enum class Answer { settled, busy, left };  // settled: nothing more to do about it in this round
  void walk();
  void finish_rest(Round round);
  void finish(std::vector<size_t> pending, Round round, bool believing);
  Answer answer_for(size_t index, Round round, const std::set<std::string_view>& claimed, bool look);
  Answer try_item(size_t index, Round round, bool walking);
  /// How one try at a clip ended.
  struct Try {
    std::string error = {};                 // "": it is made
    bool alone = false;                     // the error is this rank's own
    bool stopped = false;                   // by this rank's wish, or another's
    std::optional<std::string> asked = {};  // memory ran out; how much it asked for, or ""
  };
  void make_item(size_t index, int64_t attempts);
  Try try_clip(size_t index, MemoryRung memory, Delivery& delivery);
  bool climb(size_t index, MemoryLadder& ladder, Delivery& delivery, Try& result);
  void end_stopped(const Item& item);
  void fail_item(const Item& item, const std::string& error, int64_t attempts,
                 const nlohmann::json& memory = {});
  bool must_end() const;
  bool in_time(const Item& item) const;

  RunnerParts parts_;
  Queue queue_;
  std::string trouble_;
  bool stopped_ = false;  // a clip was given up, since this rank or another of its replica is to stop
};

}  // namespace rushes
