#include "jobs/watchdog.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <tuple>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "jobs/progress.h"

namespace rushes {
namespace {

constexpr double kLongestNap = 5, kShortestNap = 0.2;  // seconds
constexpr double kBusy = 0.05;                         // share of a core that no sleeping process takes

/// Whatever else happens: who hangs may hold the very locks that are wanted now.
void leave_in_any_case() {
  std::thread([] {
    std::this_thread::sleep_for(std::chrono::seconds(20));
    ::_exit(kExitStopped);
  }).detach();
}

auto place_of(const OwnerStatus& status) {
  return std::tie(status.item, status.writing, status.stage, status.step);
}

std::string doing(const OwnerStatus& status) {
  std::string text = status.stage.empty() ? "" : str("in stage '", status.stage, "'");
  if (status.steps > 0) text += str(" after step ", status.step, " of ", status.steps);
  if (!status.item.empty()) text += str(" of item ", status.item);
  if (!status.writing.empty()) text += str(text.empty() ? "" : ", ", "writing item ", status.writing);
  return text.empty() ? "between two items" : text;
}

}  // namespace

double grace_seconds() {
  const std::string text = env(EnvVar::grace);
  if (text.empty()) return 0;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 1 && value <= 1e6))
    fail("RUSHES_GRACE is '", text, "'; give a number of seconds, at least 1");
  return value;
}

Headway::Judgement Headway::judge(const OwnerStatus& status, double now, const WatchRules& rules) {
  const bool moved = first_ || place_of(status) != place_of(seen_);
  const bool beats = first_ || status.beat != seen_.beat;
  const bool idles = status.item.empty() && status.writing.empty() && status.stage.empty();
  if (moved || idles) {
    moved_at_ = now;
    busy_then_ = status.cpu_seconds;
  }
  if (beats) beat_at_ = now;
  seen_ = status;
  first_ = false;
  if (rules.hang_seconds <= 0) return Judgement::fine;
  if (now - beat_at_ >= rules.hang_seconds) return Judgement::silent;
  if (now - moved_at_ < rules.hang_seconds) return Judgement::fine;
  const bool computes = status.cpu_seconds - busy_then_ >= kBusy * (now - moved_at_);
  if (!rules.busy_is_alive || !computes) return Judgement::hangs;
  moved_at_ = now;  // what it does from here on is judged anew
  busy_then_ = status.cpu_seconds;
  return Judgement::fine;
}

Watchdog::Watchdog(Parts parts, WatchRules rules) : parts_(std::move(parts)), rules_(rules) {
  if (rules_.hang_seconds > 0 || rules_.grace_seconds > 0) thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Watchdog::watch() {
  const double shortest = std::min(rules_.hang_seconds > 0 ? rules_.hang_seconds / 20 : kLongestNap,
                                   rules_.grace_seconds > 0 ? rules_.grace_seconds / 20 : kLongestNap);
  const std::chrono::duration<double> nap(std::clamp(shortest, kShortestNap, kLongestNap));
  std::unique_lock lock(mutex_);
  double looked = timer_.seconds();
  while (!wake_.wait_for(lock, nap, [this] { return ending_; })) {
    lock.unlock();
    // Was this process itself suspended? Then its neighbour may have been too, and begins again just now.
    if (timer_.seconds() - looked > 3 * nap.count() + 10) headway_ = {};
    looked = timer_.seconds();
    try {
      look_at_the_stop();
      look_after_neighbour();
    } catch (const std::exception& error) {  // no memory for a moment, no disk
      log_debug("watchdog: ", error.what());
    }
    lock.lock();
  }
}

void Watchdog::look_at_the_stop() {
  if (rules_.grace_seconds <= 0 || !parts_.stop.requested()) return;
  if (!asked_at_) asked_at_ = timer_.seconds();
  if (timer_.seconds() - *asked_at_ < rules_.grace_seconds) return;
  leave_in_any_case();
  log_warning("rank ", parts_.world.rank(), " on ", parts_.world.place().host, " was asked to stop ",
              short_time(rules_.grace_seconds),
              " ago, and its step is not through: leaving; the next run goes on from the last checkpoint");
  parts_.events.add("stop_too_long", {{"seconds", rules_.grace_seconds}});
  leave();
}

void Watchdog::look_after_neighbour() {
  const int other = (parts_.world.rank() + 1) % parts_.world.size();
  if (neighbour_.empty()) {
    for (const OwnerStatus& owner : read_owners(parts_.folder)) {
      if (owner.first == parts_.first && owner.rank == other) neighbour_ = parts_.folder.owner(owner.token);
    }
  }
  const auto status = neighbour_.empty() ? std::nullopt : read_owner_status(neighbour_);
  if (!status) return;  // not there yet, or through
  const Headway::Judgement judgement = headway_.judge(*status, timer_.seconds(), rules_);
  if (judgement == Headway::Judgement::fine) return;
  const auto id = OwnerId::parse(status->token);
  const std::string host = id ? id->host.substr(0, id->host.rfind('-')) : "?";
  const bool silent = judgement == Headway::Judgement::silent;
  const std::string what = silent ? str("has not been heard of for ", short_time(rules_.hang_seconds),
                                        " (stopped, or its node is gone)")
                                  : str("got no further for ", short_time(headway_.idle(timer_.seconds())));
  leave_in_any_case();
  log_error("rank ", other, " on ", host, " ", what, ", ", doing(*status),
            ": ending the run; the same command continues");
  parts_.events.add("rank_hangs", {{"hanging", other},
                                   {"host", host},
                                   {"silent", silent},
                                   {"id", status->item.empty() ? status->writing : status->item},
                                   {"stage", status->stage},
                                   {"step", status->step}});
  try {
    // One that is silent was stopped from outside: its item is not to blame.
    if (!silent && !status->item.empty()) parts_.claims.note_crash(status->item, status->token, "by a hang");
  } catch (const std::exception& error) {
    log_warning(error.what());
  }
  leave();
}

void Watchdog::leave() const {
  // The main thread may hold whatever it hangs in: nothing is tidied up.
  parts_.world.abort(kExitStopped);
  ::_exit(kExitStopped);
}

}  // namespace rushes
