#include "jobs/runner.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/timer.h"
#include "device/kept_memory.h"
#include "device/torch_error.h"
#include "media/ffmpeg/video.h"
#include "media/picture_check.h"

namespace rushes {
namespace {

constexpr int64_t kDeathsTogether = 3;  // from then on an item is made alone, at the end of a run
constexpr double kShortestNap = 0.05;   // seconds
constexpr size_t kMostLooks = 64;       // at claims of the living, between two naps

/// After an error on a GPU: does it still answer? An illegal access leaves a device on which every later item
/// would fail, and none of them would be to blame.
bool device_works(const at::Device& device) {
  if (device.is_cpu()) return true;
  try {
    return at::ones({8}, at::TensorOptions().device(device)).sum().item<float>() == 8.0f;
  } catch (const std::exception&) {
    return false;
  }
}

/// job: preprocess: the item's video, as its settings want it.
std::shared_ptr<const Frames> pixels_of(const Item& item) {
  if (item.video.empty()) return nullptr;
  const Sampling& s = item.sampling;
  return std::make_shared<Frames>(read_clip(item.video, {s.num_frames, s.height, s.width, s.fps}));
}

/// The job's `reject`, of a clip that was made. (A real video may be black.)
void check_picture(const Job& job, const Frames& frames) {
  if (job.kind == JobKind::preprocess) return;
  for (const std::string& what : job.reject) {
    const std::string problem = what == "black" ? black_problem(frames) : noise_problem(frames);
    if (!problem.empty()) fail(problem, " (reject: [] keeps such clips)");
  }
}

}  // namespace

Runner::Runner(RunnerParts parts)
    : parts_(std::move(parts)), queue_(parts_.order, parts_.folder, parts_.claims) {}

std::string Runner::work(Round round) {
  try {
    if (round == Round::ordinary) walk();
    finish_rest(round);
    parts_.crew.dismiss();
    parts_.writer.drain();
  } catch (const UserError& error) {
    parts_.crew.dismiss();
    parts_.writer.drain();
    if (trouble_.empty()) trouble_ = error.what();
  } catch (const std::bad_alloc&) {  // between clips, so no item is to blame
    parts_.crew.dismiss();
    parts_.writer.drain();
    if (trouble_.empty()) trouble_ = "out of memory between two clips";
  }
  parts_.writer.rethrow_bug();
  if (trouble_.empty()) trouble_ = parts_.writer.trouble().value_or("");
  return trouble_;
}

void Runner::walk() {
  while (!must_end()) {
    const auto index = queue_.next();
    if (!index) return;
    const Answer answer = try_item(*index, Round::ordinary, /*walking=*/true);
    if (answer == Answer::settled) queue_.settle(*index);
  }
}

/// What the walk left: items that others have, or had; then a look at this rank's share of the records that
/// came meanwhile, which may be of another request or of fewer outputs.
void Runner::finish_rest(Round round) {
  finish(queue_.rest(), round, /*believing=*/true);
  finish(queue_.doubted(parts_.leader, parts_.leaders), round, /*believing=*/false);
}

/// Looks at a few claims of the living at a time, since all the ranks that have nothing left to do are
/// looking.
void Runner::finish(std::vector<size_t> pending, Round round, bool believing) {
  double nap = kShortestNap;
  size_t next_look = 0;
  while (!pending.empty() && !must_end()) {
    const std::vector<std::string> names = parts_.claims.all();
    const std::set<std::string_view> claimed(names.begin(), names.end());
    const size_t before = pending.size();
    std::vector<size_t> busy;
    for (size_t i = 0; i < before; ++i) {
      const size_t index = pending[i];
      const bool look = (i + before - next_look % before) % before < kMostLooks;
      const Answer answer = must_end() ? Answer::busy : answer_for(index, round, claimed, look);
      if (answer == Answer::settled) queue_.settle(index);
      if (answer == Answer::busy) busy.push_back(index);
    }
    next_look += kMostLooks;
    pending = std::move(busy);
    // What others have finished meanwhile waits for the look at records.
    std::erase_if(pending, [&](size_t index) { return believing && queue_.believe(index); });
    if (pending.empty() || must_end()) return;
    // What is left is in the hands of others that live; the more it is, the longer it takes.
    parts_.clock.sleep(nap, parts_.stop);
    nap = std::min(nap * 1.5, std::clamp(static_cast<double>(pending.size()) / 20, 2.0, 10.0));
  }
}

/// `claimed`: the ids that were claimed a moment ago. `look`: whether the claim's owner lives is asked now.
Runner::Answer Runner::answer_for(size_t index, Round round, const std::set<std::string_view>& claimed,
                                  bool look) {
  const std::string& id = parts_.job.items[index].id;
  const bool free = claimed.count(id) == 0 || (look && parts_.claims.free_if_dead(id));
  return free ? try_item(index, round, /*walking=*/false) : Answer::busy;
}

bool Runner::must_end() const {
  return stopped_ || parts_.stop.requested() || !trouble_.empty() || parts_.writer.trouble().has_value();
}

/// A clip is gone on with by the next run; a video's encoding is not.
bool Runner::in_time(const Item& item) const {
  const bool continues = parts_.checkpoints != nullptr && item.video.empty();
  return parts_.limit == nullptr || parts_.limit->fits(item.flops, continues);
}

Runner::Answer Runner::try_item(size_t index, Round round, bool walking) {
  const Item& item = parts_.job.items[index];
  if (!in_time(item)) return Answer::left;
  std::vector<std::string> known;  // a broken record was told of when the run began
  const auto settled = [&](const LedgerEntry& now) {
    if (now.state == ItemState::refused) {
      log_error("item ", item.id, ": another run has made it from another request meanwhile: ", now.why);
    }
    // Tried by another run since this one began: not again.
    return now.state != ItemState::todo || now.attempts > parts_.order.ledger()[index].attempts;
  };
  LedgerRules rules = parts_.rules;
  rules.verify = !parts_.order.ledger()[index]
                      .why.empty();  // found damaged when the run began: perhaps by its bytes only
  const auto look = [&] { return look_up(parts_.job, item, parts_.folder, rules, known); };
  if (settled(look())) return Answer::settled;
  const bool mine = parts_.claims.take(item.id) ||
                    (!walking && parts_.claims.free_if_dead(item.id) && parts_.claims.take(item.id));
  if (walking) queue_.answered(mine);
  if (!mine) return Answer::busy;
  const LedgerEntry now = look();  // it may have been finished just before the claim
  if (settled(now)) {
    parts_.claims.release(item.id);
    return Answer::settled;
  }
  const Deaths deaths = parts_.claims.deaths(item.id);
  const int64_t tries = now.attempts + deaths.crashes;
  if (deaths.crashes > 0 && tries > parts_.rules.retries) {
    fail_item(
        item,
        str("the process that worked on it died ", deaths.crashes, " times (the last, ", deaths.last_owner,
            ", ", deaths.how, " in stage '", deaths.stage, "' after step ", deaths.step, ")"),
        tries);
    return Answer::settled;
  }
  const bool last_try = deaths.crashes > 0 && tries >= std::max<int64_t>(1, parts_.rules.retries);
  if ((last_try || deaths.count >= kDeathsTogether) && round == Round::ordinary) {
    parts_.claims.release(item.id);
    return Answer::left;
  }
  make_item(index, tries + 1);
  return Answer::settled;
}

void Runner::make_item(size_t index, int64_t attempts) {
  const Item& item = parts_.job.items[index];
  parts_.owner.announce([&](OwnerStatus& status) {
    status.item = item.id;
    status.stage = "starting";
    status.step = status.steps = 0;
    status.seconds_per_step = status.item_seconds = 0;
  });
  parts_.events.add("item_started", {{"id", item.id}, {"attempt", attempts}});
  Delivery delivery{.item = &item, .attempts = attempts, .started = utc_now()};
  MemoryLadder ladder(parts_.job.job, item, parts_.claims, parts_.events);
  Try result;
  const Timer timer;
  while (climb(index, ladder, delivery, result)) {
  }
  delivery.seconds = timer.seconds();
  if (result.stopped) return end_stopped(item);
  if (result.alone && parts_.crew.many()) {
    if (result.asked && parts_.job.job.vae_tiling == VaeTiling::automatic)
      log_info("where all clips are as large, vae_tiling: on spares a restart for each");
    if (!result.asked) parts_.claims.note_crash(item.id, parts_.owner.token(), "with its ranks");
    parts_.crew.give_up(item.id, result.error);
  }
  if (!ladder.rung()) {
    // Reruns would run out of the same memory: its tries count as used up.
    fail_item(item, ladder.verdict(), std::max(attempts, parts_.rules.retries + 1), ladder.record());
  } else if (!result.error.empty() && !device_works(parts_.job.options.device)) {
    // Counted like a death, so that an item that breaks devices is found out in the end.
    parts_.claims.note_crash(item.id, parts_.owner.token(), "with its device");
    trouble_ = str("the device ", parts_.job.options.device.str(), " no longer works (", result.error, ")");
  } else if (!result.error.empty()) {
    fail_item(item, result.error, attempts, ladder.record());
  } else {
    for (const std::string& warning : delivery.clip.warnings)
      log_warning("item ", item.id, ": ", warning);
    if (parts_.limit != nullptr && delivery.clip.continued_from == 0)
      parts_.limit->learn(item.flops, delivery.seconds);
    parts_.writer.submit(std::move(delivery));
  }
  parts_.owner.announce([](OwnerStatus& status) {
    status.item.clear();
    status.stage.clear();
  });
}

/// One try on the ladder's rung. True where another is to follow: memory ran out, and no rank waits for this
/// one.
bool Runner::climb(size_t index, MemoryLadder& ladder, Delivery& delivery, Try& result) {
  const auto rung = ladder.rung();
  if (!rung) return false;
  delivery.memory = ladder.record();
  result = try_clip(index, *rung, delivery);
  if (!result.asked) return false;
  parts_.writer.drain();  // clips that wait to be written take memory too
  forget_kept_memory();
  ladder.ran_out(*rung, parts_.crew.watch.stage, *result.asked);
  return !parts_.crew.many();
}

Runner::Try Runner::try_clip(size_t index, MemoryRung memory, Delivery& delivery) {
  const Item& item = parts_.job.items[index];
  try {
    const c10::InferenceMode no_autograd;
    OwnerObserver observer(parts_.owner, parts_.crew.watch);
    observer.on_stage("starting");
    const auto checkpoints = parts_.checkpoints != nullptr ? parts_.checkpoints->of(item) : nullptr;
    parts_.crew.call(index, memory);
    delivery.clip = parts_.pipeline.run({item.prompt, item.sampling, pixels_of(item)},
                                        {.stop = parts_.stop,
                                         .embeddings = parts_.embeddings,
                                         .observer = &observer,
                                         .replica = parts_.crew.many() ? &parts_.crew.replica : nullptr,
                                         .checkpoints = checkpoints.get(),
                                         .memory = memory});
    check_picture(parts_.job.job, delivery.clip.frames);
    if (checkpoints != nullptr) delivery.legs = checkpoints->legs();
    return {};
  } catch (const StoppedEarly&) {
    return {.stopped = true};
  } catch (const ProcessDied&) {
    throw;
  } catch (const UserError& problem) {
    const auto asked = memory_shortage(problem);
    return {.error = problem.what(), .alone = asked.has_value(), .asked = asked};
  } catch (const InternalError& problem) {
    return {.error = str("internal error (a bug of rushes, please report it): ", problem.what()),
            .alone = true};
  } catch (const std::exception& problem) {
    const auto asked = memory_shortage(problem);
    return {.error = asked ? "out of memory" : message_of(problem), .alone = true, .asked = asked};
  } catch (...) {
    return {.error = "unknown error", .alone = true};
  }
}

void Runner::end_stopped(const Item& item) {
  stopped_ = true;  // perhaps by another rank's wish
  parts_.owner.announce([](OwnerStatus& status) {
    status.item.clear();
    status.stage.clear();  // it waits for others from here on, which is no hang
  });
  parts_.claims.release(item.id);
  parts_.events.add("item_stopped", {{"id", item.id}});
}

void Runner::fail_item(const Item& item, const std::string& error, int64_t attempts,
                       const nlohmann::json& memory) {
  log_warning("item ", item.id, " failed: ", error);
  parts_.publisher.fail_item(item, error, attempts, memory);
}

}  // namespace rushes
