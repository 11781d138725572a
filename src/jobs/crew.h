#pragma once
// The ranks of a replica on its way through the items: its first rank leads (claims, decides, writes), the
// others follow its word from clip to clip.

#include <functional>
#include <optional>

#include "base/timer.h"
#include "dist/world.h"
#include "jobs/claims.h"
#include "jobs/items.h"
#include "jobs/output_folder.h"
#include "jobs/owner.h"
#include "pipelines/pipeline.h"

namespace rushes {

/// What the leader calls the others to.
struct CrewCall {
  size_t item = 0;
  MemoryRung memory;
};

/// A replica's ranks as the runner sees them. Of one rank where `replica` is alone.
struct Crew {
  const Comm& replica;  // in host memory
  CommWatch& watch;
  World& world;

  bool many() const { return !replica.alone(); }
  /// The leader: the others make the item too.
  void call(size_t item, MemoryRung memory) const;
  /// The leader: the others are done with a round.
  void dismiss() const;
  /// The others: the next item, or nothing at the end of a round. Waits as long as it takes.
  std::optional<CrewCall> next() const;
  /// Something went wrong on this rank alone, which the others of the clip cannot know: they would wait in
  /// the middle of it for ever. Ends the world, to be continued by the next run.
  [[noreturn]] void give_up(const std::string& item, const std::string& error) const;
};

/// Shows an item's stages and steps in the owner's file, and to whoever waits for other ranks.
class OwnerObserver : public StepObserver {
 public:
  OwnerObserver(Owner& owner, CommWatch& watch) : owner_(owner), watch_(watch) {}
  void on_stage(const std::string& stage) override;
  void on_step(int64_t step, int64_t steps, double seconds) override;

 private:
  Owner& owner_;
  CommWatch& watch_;
  Timer timer_;
  bool stepped_ = false;
};

/// Told of a try on this rank that ran out of memory, and of what was asked for ("2.5 GiB", or "").
using OnShortage = std::function<void(const Item& item, MemoryRung memory, const std::string& asked)>;

/// Told of a try that failed on this rank alone, which ends the world. `waited`: in vain, for another rank.
using OnFailure = std::function<void(const Item& item, bool waited)>;

/// A round of a rank that follows.
void follow(const Crew& crew, const std::vector<Item>& items, Pipeline& pipeline, Owner& owner,
            const StopToken& stop, const OnShortage& on_shortage, const OnFailure& on_failure);

/// A try failed on rank `rank`, which follows: it counts as the clip's crash. Not where this rank `waited`
/// for one that was stopped from outside, as the leader's silence shows.
void blame(const Item& item, bool waited, const Claims& claims, const OutputFolder& folder, int rank);

}  // namespace rushes
