#include "dist/groups.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"

namespace rushes {
namespace {

// Groups of the same members are told apart by these.
enum Tag { kReplica = 1, kCfg, kUlysses, kRing, kSp, kDitTp, kTp, kVae, kNode };

bool holds(const std::vector<int>& members, int rank) {
  return std::find(members.begin(), members.end(), rank) != members.end();
}

}  // namespace

std::vector<int> ranks_by_node(const std::vector<int>& nodes) {
  std::vector<int> order(nodes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return nodes[static_cast<size_t>(a)] < nodes[static_cast<size_t>(b)];
  });
  return order;
}

Seat seat_of(const ParallelPlan& plan, int64_t place) {
  Seat seat;
  if (place >= plan.dp() * plan.replica()) return seat;
  seat.replica = place / plan.replica();
  int64_t inside = place % plan.replica();
  seat.dit_tp = inside % plan.dit_tp();
  inside /= plan.dit_tp();
  seat.ulysses = inside % plan.ulysses();
  inside /= plan.ulysses();
  seat.ring = inside % plan.ring();
  seat.cfg = inside / plan.ring();
  return seat;
}

GroupMembers members_of(const ParallelPlan& plan, const std::vector<int>& order, int64_t place) {
  const Seat own = seat_of(plan, place);
  RUSHES_CHECK(own.replica >= 0, "place ", place, " idles");
  GroupMembers groups;
  for (int64_t p = own.replica * plan.replica(); p < (own.replica + 1) * plan.replica(); ++p) {
    const Seat s = seat_of(plan, p);
    const int rank = order[static_cast<size_t>(p)];
    const bool tp = s.dit_tp == own.dit_tp, ulysses = s.ulysses == own.ulysses, ring = s.ring == own.ring,
               cfg = s.cfg == own.cfg;
    const auto inside = static_cast<int64_t>(groups.replica.size());
    groups.replica.push_back(rank);
    if (tp && ulysses && ring) groups.cfg.push_back(rank);
    if (tp && ring && cfg) groups.ulysses.push_back(rank);
    if (tp && ulysses && cfg) groups.ring.push_back(rank);
    if (tp && cfg) groups.sp.push_back(rank);
    if (ulysses && ring && cfg) groups.dit_tp.push_back(rank);
    if (inside < plan.tp()) groups.tp.push_back(rank);
    if (inside < plan.vae()) groups.vae.push_back(rank);
  }
  return groups;
}

Groups make_groups(const ParallelPlan& plan, const Comm& world, const std::vector<int>& nodes) {
  RUSHES_CHECK(static_cast<int64_t>(nodes.size()) == plan.world() && world.size() == plan.world(),
               nodes.size(), " nodes, ", world.size(), " ranks, plan of ", plan.world());
  const std::vector<int> order = ranks_by_node(nodes);
  const int64_t place = std::find(order.begin(), order.end(), world.rank()) - order.begin();
  Groups groups(plan);
  groups.seat = seat_of(plan, place);
  if (groups.seat.replica < 0) return groups;
  const GroupMembers members = members_of(plan, order, place);
  groups.replica = world.subgroup(members.replica, kReplica, "replica");
  groups.cfg = world.subgroup(members.cfg, kCfg, "cfg");
  groups.ulysses = world.subgroup(members.ulysses, kUlysses, "ulysses");
  groups.ring = world.subgroup(members.ring, kRing, "ring");
  groups.sp = world.subgroup(members.sp, kSp, "sp");
  groups.dit_tp = world.subgroup(members.dit_tp, kDitTp, "dit_tp");
  groups.in_tp = holds(members.tp, world.rank());
  groups.in_vae = holds(members.vae, world.rank());
  if (groups.in_tp) groups.tp = world.subgroup(members.tp, kTp, "tp");
  if (groups.in_vae) groups.vae = world.subgroup(members.vae, kVae, "vae");
  return groups;
}

Traffic Groups::traffic() const {
  Traffic all;
  for (const Comm* group : {&replica, &cfg, &ulysses, &ring, &sp, &dit_tp, &tp, &vae})
    all += group->traffic();
  return all;
}

Comm make_node_group(const Comm& world, const std::vector<int>& nodes, bool takes_part) {
  const std::vector<int64_t> parts = world.all_gather(takes_part ? 1 : 0);
  const int node = nodes[static_cast<size_t>(world.rank())];
  std::vector<int> members;
  for (size_t rank = 0; rank < nodes.size(); ++rank) {
    if (parts[rank] == 1 && nodes[rank] == node) members.push_back(static_cast<int>(rank));
  }
  return takes_part && members.size() > 1 ? world.subgroup(members, kNode, "node") : Comm();
}

}  // namespace rushes
