#include "jobs/runner.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>

#include "base/log.h"
#include "base/timer.h"
#include "device/torch_error.h"

namespace rushes {
namespace {

constexpr int64_t kDeathsTogether = 3;  // from then on an item is made alone, at the end of a run

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

}  // namespace

Runner::Runner(RunnerParts parts) : parts_(std::move(parts)) {
  const auto& items = parts_.job.items;
  RUSHES_CHECK(parts_.ledger.size() == items.size(), parts_.ledger.size(), " entries, ", items.size(),
               " items");
  order_.resize(items.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::stable_sort(order_.begin(), order_.end(),
                   [&](size_t a, size_t b) { return items[a].flops > items[b].flops; });
  for (const size_t index : order_) {
    if (parts_.ledger[index].state != ItemState::todo) settled_.insert(index);
  }
}

std::string Runner::work(Round round) {
  std::vector<size_t> pending;
  for (const size_t index : order_) {
    if (settled_.count(index) == 0) pending.push_back(index);
  }
  // What processes have died on comes last, so that it holds nothing else up.
  const auto deaths = parts_.claims.all_deaths();
  const auto of = [&](size_t index) {
    const auto found = deaths.find(parts_.job.items[index].id);
    return found == deaths.end() ? int64_t{0} : found->second;
  };
  std::stable_sort(pending.begin(), pending.end(), [&](size_t a, size_t b) { return of(a) < of(b); });
  double nap = 0.05;
  try {
    while (!pending.empty() && !must_end()) {
      const size_t before = pending.size();
      std::vector<size_t> busy;
      for (const size_t index : pending) {
        const Answer answer = must_end() ? Answer::busy : try_item(index, round);
        if (answer == Answer::settled) settled_.insert(index);
        if (answer == Answer::busy) busy.push_back(index);
      }
      pending = std::move(busy);
      // What is left is in the hands of others that live.
      nap = pending.size() < before ? 0.05 : std::min(nap * 1.5, 2.0);
      if (!pending.empty() && !must_end()) pause(nap);
    }
    parts_.crew.dismiss();
    parts_.writer.drain();
  } catch (const UserError& error) {
    parts_.crew.dismiss();
    parts_.writer.drain();
    if (trouble_.empty()) trouble_ = error.what();
  }
  parts_.writer.rethrow_bug();
  if (trouble_.empty()) trouble_ = parts_.writer.trouble().value_or("");
  return trouble_;
}

bool Runner::must_end() const {
  return stopped_ || parts_.stop.requested() || !trouble_.empty() || parts_.writer.trouble().has_value();
}

void Runner::pause(double seconds) const {
  for (double slept = 0; slept < seconds && !parts_.stop.requested(); slept += 0.05) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Runner::Answer Runner::try_item(size_t index, Round round) {
  const Item& item = parts_.job.items[index];
  std::vector<std::string> known;  // a broken record was told of when the run began
  const auto settled = [&](const LedgerEntry& now) {
    if (now.state == ItemState::refused) {
      log_error("item ", item.id, ": another run has made it from another request meanwhile: ", now.why);
    }
    // Tried by another run since this one began: not again.
    return now.state != ItemState::todo || now.attempts > parts_.ledger[index].attempts;
  };
  LedgerRules rules = parts_.rules;
  rules.verify =
      !parts_.ledger[index].why.empty();  // found damaged when the run began: perhaps by its bytes only
  const auto look = [&] { return look_up(parts_.job, item, parts_.folder, rules, known); };
  if (settled(look())) return Answer::settled;
  if (!parts_.claims.take(item.id)) {
    if (!parts_.claims.free_if_dead(item.id) || !parts_.claims.take(item.id)) return Answer::busy;
  }
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
  Delivery delivery{&item, {}, attempts, 0, utc_now()};
  std::string error;
  bool alone = false;  // the error is this rank's own
  const Timer timer;
  try {
    const c10::InferenceMode no_autograd;
    OwnerObserver observer(parts_.owner, parts_.crew.watch);
    parts_.crew.call(index);
    delivery.clip = parts_.pipeline.run(
        {item.prompt, item.sampling},
        {parts_.stop, parts_.embeddings, &observer, parts_.crew.many() ? &parts_.crew.replica : nullptr});
  } catch (const StoppedEarly&) {
    stopped_ = true;  // perhaps by another rank's wish
    parts_.owner.announce([](OwnerStatus& status) { status.item.clear(); });
    parts_.claims.release(item.id);
    parts_.events.add("item_stopped", {{"id", item.id}});
    return;
  } catch (const UserError& problem) {
    error = problem.what();
  } catch (const InternalError& problem) {
    alone = true;
    error = str("internal error (a bug of rushes, please report it): ", problem.what());
  } catch (const std::bad_alloc&) {
    alone = true;
    error = "out of memory";
  } catch (const std::exception& problem) {
    alone = true;
    error = message_of(problem);
  } catch (...) {
    alone = true;
    error = "unknown error";
  }
  delivery.seconds = timer.seconds();
  if (alone && parts_.crew.many()) {
    parts_.claims.note_death(item.id);
    parts_.crew.give_up(item.id, error);
  }
  if (!error.empty() && !device_works(parts_.job.options.device)) {
    // Counted like a death, so that an item that breaks devices is found out in the end.
    parts_.claims.note_death(item.id);
    parts_.claims.release(item.id);
    trouble_ = str("the device ", parts_.job.options.device.str(), " no longer works (", error, ")");
  } else if (!error.empty()) {
    fail_item(item, error, attempts);
  } else {
    for (const std::string& warning : delivery.clip.warnings)
      log_warning("item ", item.id, ": ", warning);
    parts_.writer.submit(std::move(delivery));
  }
  parts_.owner.announce([](OwnerStatus& status) {
    status.item.clear();
    status.stage.clear();
  });
}

void Runner::fail_item(const Item& item, const std::string& error, int64_t attempts) {
  log_warning("item ", item.id, " failed: ", error);
  parts_.publisher.fail_item(item, error, attempts);
}

}  // namespace rushes
