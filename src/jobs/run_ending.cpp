#include "jobs/run_ending.h"

#include <algorithm>
#include <cstring>

#include "base/env.h"
#include "base/log.h"
#include "jobs/checkpoints.h"
#include "jobs/claims.h"
#include "jobs/contact_sheet.h"
#include "jobs/embedding_store.h"
#include "jobs/guarded.h"
#include "jobs/progress.h"
#include "jobs/regress.h"
#include "jobs/shards.h"
#include "jobs/signals.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kMostInVain = 3;  // a start and two restarts that make nothing: the next would not either

}  // namespace

void RunEnding::unbegun(int code) const {
  const auto& ledger = parts_.start.ledger;
  note_end(code, count_of(ledger, ItemState::done), count_of(ledger, ItemState::failed),
           count_of(ledger, ItemState::todo));
}

int RunEnding::end(OwnerWatch& owners) const {
  const Tally now = tally(parts_.job, parts_.start.ledger, parts_.rules, parts_.folder);
  guarded([&] { sweep(now, owners); });
  int code = kExitDone;
  const int wrote = guarded([&] {
    code = kExitStopped;  // where even the count of starts cannot be written
    code = exit_code(now);
    write_failed(now, parts_.folder, parts_.residence.work);
    if (now.left == 0) end_fresh_run(parts_.folder, parts_.start.digest);
  });
  if (wrote != kExitDone) code = worse_exit_code(code, kExitStopped);
  code = finish_dataset(code);
  make_contact_sheet(now);
  code = compare_with_references(code);
  if (now.left > 0) parts_.events.add("run_stopped", {{"why", why_stopped()}, {"left", now.left}});
  note_end(code, static_cast<int64_t>(now.done.size()), now.failed, now.left);
  tell(now, code);
  return code;
}

void RunEnding::sweep(const Tally& now, OwnerWatch& owners) const {
  Claims claims(parts_.folder, parts_.residence.work, parts_.residence.owner.token(), owners);
  claims.sweep();
  sweep_embeddings(parts_.folder.embeddings());
  // Who dies between an item's record and its claim's release is counted as having died of it.
  for (const auto& [id, count] : claims.all_deaths()) {
    if (now.done.count(id) > 0) claims.forget_deaths(id);
  }
  sweep_checkpoints(parts_.folder, now.done);
}

void RunEnding::note_end(int code, int64_t done, int64_t failed, int64_t left) const {
  parts_.events.add("run_ended", {{"code", code},
                                  {"done", done},
                                  {"failed", failed},
                                  {"left", left},
                                  {"seconds", parts_.timer.seconds()}});
  parts_.metrics.end(done, failed, left, code);
}

/// job: regress, when all is made that can be. Gives the exit code of the run and the comparison together.
int RunEnding::compare_with_references(int code) const {
  if (parts_.job.job.kind != JobKind::regress || parts_.request.overrides.noise_rerun || code == kExitStopped)
    return code;
  int compared = kExitDone;
  const int failed = guarded([&] {
    const Comparison comparison =
        compare_output(parts_.folder.root(), clips_of_job(parts_.job), parts_.job.job.regression.references,
                       thresholds_of(parts_.job), [&] { return parts_.stop.requested(); });
    compared = comparison.passed() ? kExitDone : kExitRegressed;
    parts_.events.add("compared", {{"passed", comparison.passed()}, {"clips", comparison.clips.size()}});
  });
  // A stopped comparison can be gone on with; one that is not possible (said above) is none that was passed.
  const int impossible = failed == kExitStopped ? kExitStopped : kExitRegressed;
  return worse_exit_code(code, failed == kExitDone ? compared : impossible);
}

/// save: [hdf5]: what is spooled becomes shards, and all of them one set; not where the run has to end.
int RunEnding::finish_dataset(int code) const {
  if (!saves_hdf5(parts_.job.job) || !parts_.trouble.empty() || parts_.stop.requested()) return code;
  ShardStore::Findings found;
  const int joined = guarded(
      [&] { found = ShardStore(parts_.folder, parts_.residence.work, parts_.job.job.dataset).finish(); });
  if (joined != kExitDone || found.taken_back) return worse_exit_code(code, kExitStopped);
  return found.unreadable ? worse_exit_code(code, kExitFailedItems) : code;
}

/// Where something new was made, and there is time; never at a run's cost.
void RunEnding::make_contact_sheet(const Tally& now) const {
  if (!parts_.trouble.empty() || parts_.stop.requested() || now.done.empty()) return;
  bool made = false;
  for (size_t i = 0; i < parts_.job.items.size() && !made; ++i)
    made = parts_.start.ledger[i].state != ItemState::done && now.done.count(parts_.job.items[i].id) > 0;
  std::error_code ignored;
  if (!made && fs::exists(parts_.folder.contact_sheet(), ignored)) return;
  try {
    write_contact_sheet(parts_.job, parts_.folder, parts_.residence.work, now.done, parts_.stop);
  } catch (const std::exception& error) {
    log_warning("no contact-sheet.png: ", error.what());
  }
}

int RunEnding::exit_code(const Tally& now) const {
  const auto& ledger = parts_.start.ledger;
  const auto before = static_cast<int64_t>(ledger.size()) - count_of(ledger, ItemState::todo);
  const RestartCount restarts(parts_.folder);
  if (now.left == 0) {
    restarts.set(0);
    return now.failed > 0 ? kExitFailedItems : kExitDone;
  }
  const auto kept = checkpoint_times(parts_.folder);
  const bool further = std::any_of(kept.begin(), kept.end(), [&](const auto& one) {
    const auto known = parts_.kept_before.find(one.first);
    return known == parts_.kept_before.end() || known->second != one.second;
  });
  const bool progress = static_cast<int64_t>(now.done.size()) + now.failed > before || further;
  // One counter for all that share the folder; slurm/attend counts each job's own lives.
  const bool counted = env(EnvVar::attended).empty();
  const int64_t without = progress ? 0 : restarts.value() + (counted ? 1 : 0);
  restarts.set(without);
  if (!counted || without < kMostInVain) return kExitStopped;
  log_error("nothing was made by the last ", without,
            " starts of this job (this one stopped: ", why_stopped(),
            "); more starts like these would make nothing either");
  return kExitFailedItems;
}

std::string RunEnding::why_stopped() const {
  if (!parts_.trouble.empty()) return parts_.trouble;
  if (stop_signal() != 0) return str("SIG", sigabbrev_np(stop_signal()));
  if (parts_.stop.timed_out()) return "the time limit";
  if (parts_.limit.set()) return "no clip that is left can end before the time limit";
  return parts_.stop.requested() ? "asked to stop" : "other ranks stopped";
}

void RunEnding::tell(const Tally& now, int code) const {
  const std::string root = parts_.folder.root().string();
  std::string line = str(now.done.size(), " of ", parts_.job.items.size(), " done");
  if (now.failed > 0)
    line += str(", ", now.failed, " failed (", parts_.folder.failed().string(), ", ", root, "/items)");
  if (now.left > 0) line += str(", ", now.left, " left (stopped: ", why_stopped(), ")");
  log_info(line, " in ", short_time(parts_.timer.seconds()));
  for (const std::string& kind : parts_.job.job.save)
    log_info(kind == "video" ? "videos" : kind, ": ", root, "/",
             kind == "video"  ? "videos"
             : kind == "hdf5" ? "dataset.h5"
                              : kind);
  if (code == kExitStopped) {
    const bool disk = !parts_.trouble.empty();
    log_info(disk ? "once that is mended (free space, quota, rights), run" : "run",
             " the same command again to continue");
  }
}

}  // namespace rushes
