#include "dist/parallel_plan.h"

#include <vector>

#include "base/error.h"

namespace rushes {
namespace {

// Ranks that encode a text or decode a clip together where nothing is said: more of them wait for each other.
constexpr int64_t kMostTogether = 8;

struct Axis {
  const char* key;
  std::optional<int64_t> asked;
};

std::vector<Axis> axes(const Parallel& parallel) {
  return {{"dp", parallel.dp},         {"cfg", parallel.cfg}, {"sp", parallel.sp},  {"ring", parallel.ring},
          {"dit_tp", parallel.dit_tp}, {"tp", parallel.tp},   {"vae", parallel.vae}};
}

/// Every factor as asked, for messages: "dp auto, cfg 2, ...".
std::string as_asked(const Parallel& parallel) {
  std::vector<std::string> words;
  for (const Axis& axis : axes(parallel)) {
    words.push_back(axis.asked ? str(axis.key, " ", *axis.asked) : str(axis.key, " auto"));
  }
  return join(words, ", ");
}

}  // namespace

ParallelPlan ParallelPlan::make(const Parallel& parallel, int64_t world) {
  RUSHES_CHECK(world >= 1, "world=", world);
  Problems problems;
  const std::string asked =
      str("parallel: ", as_asked(parallel), " on ", world, world == 1 ? " rank: " : " ranks: ");
  for (const Axis& axis : axes(parallel)) {
    if (axis.asked && (*axis.asked < 1 || *axis.asked > (1 << 20))) {
      problems.add(asked, axis.key, " must be a number from 1 to 1048576, or auto");
    }
  }
  problems.throw_if_any();

  ParallelPlan plan;
  plan.world_ = world;
  plan.cfg_ = parallel.cfg.value_or(1);
  plan.sp_ = parallel.sp.value_or(parallel.ring.value_or(1));
  plan.ring_ = parallel.ring.value_or(1);
  plan.dit_tp_ = parallel.dit_tp.value_or(1);
  const int64_t replica = plan.replica();
  plan.tp_ = parallel.tp.value_or(std::min<int64_t>(replica, kMostTogether));
  plan.vae_ = parallel.vae.value_or(std::min<int64_t>(replica, kMostTogether));
  plan.dp_ = parallel.dp.value_or(std::max<int64_t>(1, world / replica));
  if (plan.cfg_ > 2) problems.add(asked, "cfg can be 1 or 2 (with and without the prompt)");
  if (plan.sp_ % plan.ring_ != 0) problems.add(asked, "ring ", plan.ring_, " does not divide sp ", plan.sp_);
  if (plan.dp_ * replica > world) {
    problems.add(asked, "dp ", plan.dp_, " x replica ", replica, " (cfg ", plan.cfg_, " x sp ", plan.sp_,
                 " x dit_tp ", plan.dit_tp_, ") needs ", plan.dp_ * replica,
                 " ranks; start more, or lower a factor or make it auto");
  }
  if (plan.tp_ > replica)
    problems.add(asked, "tp ", plan.tp_, " is more than the replica's ", replica, " ranks");
  if (plan.vae_ > replica) {
    problems.add(asked, "vae ", plan.vae_, " is more than the replica's ", replica, " ranks");
  }
  problems.throw_if_any();
  return plan;
}

std::string ParallelPlan::text() const {
  return str(world_, world_ == 1 ? " rank" : " ranks", " = dp ", dp_, " x replica ", replica(), " (cfg ",
             cfg_, " x sp ", sp_, " [ring ", ring_, "] x dit_tp ", dit_tp_, ")",
             idle() > 0 ? str(" + ", idle(), " idle") : "", ", tp ", tp_, ", vae ", vae_);
}

}  // namespace rushes
