#include "jobs/crew.h"

#include <c10/core/InferenceMode.h>

#include <exception>
#include <sstream>
#include <thread>

#include "base/log.h"
#include "device/torch_error.h"

namespace rushes {

void Crew::call(size_t item, MemoryRung memory) const {
  if (many()) replica.broadcast(str(item, " ", memory.tiles, " ", memory.offload), 0);
}

void Crew::dismiss() const {
  if (many()) replica.broadcast("", 0);
}

std::optional<CrewCall> Crew::next() const {
  const std::string word = replica.broadcast("", 0, Patience::endless);
  if (word.empty()) return std::nullopt;
  CrewCall call;
  std::istringstream(word) >> call.item >> call.memory.tiles >> call.memory.offload;
  return call;
}

void Crew::give_up(const std::string& item, const std::string& error) const {
  log_error("item ", item, ", stage '", watch.stage, "': ", error, "; the ranks of this clip cannot go on ",
            "without each other: run the same command again to continue");
  world.abort(kExitStopped);
  std::terminate();  // abort() does not return; compilers do not see that
}

void OwnerObserver::on_stage(const std::string& stage) {
  watch_.stage = stage;
  owner_.announce([&](OwnerStatus& status) {  // seldom, and what is told of a process that dies in it
    status.stage = stage;
    status.item_seconds = timer_.seconds();
  });
}

void OwnerObserver::on_step(int64_t step, int64_t steps, double seconds) {
  watch_.stage = str("denoising, step ", step + 2, " of ", steps);
  const auto tell = [&](OwnerStatus& status) {
    status.step = step + 1;
    status.steps = steps;
    status.seconds_per_step = seconds;
    status.item_seconds = timer_.seconds();
  };
  stepped_ ? owner_.change(tell) : owner_.announce(tell);
  stepped_ = true;
}

void follow(const Crew& crew, const std::vector<Item>& items, Pipeline& pipeline, Owner& owner,
            const StopToken& stop, const OnShortage& on_shortage, const OnFailure& on_failure) {
  while (const std::optional<CrewCall> call = crew.next()) {
    const Item& item = items.at(call->item);
    // Not as its item: the claim is the leader's.
    owner.announce([&](OwnerStatus& status) {
      status.helps = item.id;
      status.stage = "starting";
    });
    try {
      const c10::InferenceMode no_autograd;
      OwnerObserver observer(owner, crew.watch);
      pipeline.run({item.prompt, item.sampling}, {.stop = stop,
                                                  .embeddings = nullptr,
                                                  .observer = &observer,
                                                  .replica = &crew.replica,
                                                  .memory = call->memory});
    } catch (const StoppedEarly&) {
    } catch (const UserError& same) {
      log_debug("item ", item.id, ": ", same.what());  // the leader found the same
    } catch (const std::exception& error) {
      const auto asked = memory_shortage(error);
      const bool waited = dynamic_cast<const CommTimeout*>(&error) != nullptr;
      asked ? on_shortage(item, call->memory, *asked) : on_failure(item, waited);
      crew.give_up(item.id, message_of(error));
    }
    owner.announce([](OwnerStatus& status) {
      status.helps.clear();
      status.stage.clear();
    });
  }
}

void blame(const Item& item, bool waited, const Claims& claims, const OutputFolder& folder, int rank) {
  const auto leader = claims.holder(item.id);
  if (!leader) return;
  const std::filesystem::path file = folder.owner(*leader);
  const auto beat = [&] {
    const auto status = read_owner_status(file);
    return status ? status->beat : 0;
  };
  const uint64_t before = beat();
  if (waited) std::this_thread::sleep_for(std::chrono::seconds(5));  // two beats of an owner
  if (waited && beat() == before) return;
  claims.note_crash(item.id, *leader,
                    waited ? "by ranks that did not answer" : str("by an error of rank ", rank));
}

}  // namespace rushes
