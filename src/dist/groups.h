#pragma once
// Which ranks work together: the groups of one rank by a ParallelPlan.

#include <vector>

#include "dist/comm.h"
#include "dist/parallel_plan.h"

namespace rushes {

/// Where a rank stands inside its replica. Neighbours along dit_tp talk most, then along ulysses, ring and
/// cfg; so ranks are counted in that order, and what talks most shares a node.
struct Seat {
  int64_t replica = -1;  // -1: the rank idles
  int64_t cfg = 0, ring = 0, ulysses = 0, dit_tp = 0;
};

/// Ranks of the world by place: `order[p]` is the rank at place p of the plan, nodes kept together. nodes: of
/// every rank (Place::nodes).
std::vector<int> ranks_by_node(const std::vector<int>& nodes);

/// The seat at place p of the plan.
Seat seat_of(const ParallelPlan& plan, int64_t place);

/// The members of each group, as ranks of the world.
struct GroupMembers {
  std::vector<int> replica, cfg, ulysses, ring, sp, dit_tp, tp, vae;
};
/// Of the rank at place p, which must not idle. `tp` and `vae` are the first ranks of the replica; they are
/// given to ranks outside of them too.
GroupMembers members_of(const ParallelPlan& plan, const std::vector<int>& order, int64_t place);

/// The groups of this rank. A rank that idles, and one outside of tp or vae, has groups of one there.
struct Groups {
  explicit Groups(const ParallelPlan& layout) : plan(layout) {}
  ParallelPlan plan;
  Seat seat;
  Comm replica, cfg, ulysses, ring, sp, dit_tp, tp, vae;
  bool in_tp = true, in_vae = true;

  /// Makes clips known to the world: claims, writes. The replica's first rank.
  bool leads() const { return seat.replica >= 0 && replica.rank() == 0; }
  /// Of all groups together.
  Traffic traffic() const;
};

/// Collective over the world. nodes: see ranks_by_node.
Groups make_groups(const ParallelPlan& plan, const Comm& world, const std::vector<int>& nodes);

/// The ranks of this one's node that take part; a group of one for the others. Collective over the world.
Comm make_node_group(const Comm& world, const std::vector<int>& nodes, bool takes_part);

}  // namespace rushes
