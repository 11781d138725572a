#include "jobs/memory_ladder.h"

#include <algorithm>

#include "base/log.h"
#include "config/value.h"

namespace rushes {
namespace {

constexpr MemoryRung kTiles{.tiles = true}, kOffload{.offload = true}, kBoth{.tiles = true, .offload = true};

std::vector<MemoryRung> rungs_of(const Job& job) {
  if (job.vae_tiling == VaeTiling::on) return {kTiles, kBoth};
  if (job.vae_tiling == VaeTiling::off || job.kind == JobKind::regress) return {MemoryRung(), kOffload};
  return {MemoryRung(), kTiles, kBoth};
}

const char* what_it_is(MemoryRung rung) {
  if (rung == kTiles) return "with the VAE in blended tiles";
  if (rung == kBoth) return "with the VAE in blended tiles and no weights but those in use";
  return rung == kOffload ? "with no weights but those in use" : "as any other clip";
}

std::string asking(const std::string& asked) {
  return asked.empty() ? std::string() : str(", asking for ", asked);
}

}  // namespace

const char* rung_name(MemoryRung rung) {
  return rung.offload ? "offload" : rung.tiles ? "tiles" : "none";
}

MemoryLadder::MemoryLadder(const Job& job, const Item& item, const Claims& claims, const EventLog& events)
    : job_(job), item_(item), claims_(claims), events_(events), rungs_(rungs_of(job)) {
  read(claims_.deaths(item_.id).memory);
}

/// What another request tried, or a file that is not as it was written, counts for nothing.
void MemoryLadder::read(const nlohmann::json& noted) {
  if (!noted.is_object() || noted.value("request", nlohmann::json()) != item_.request_hash) return;
  try {
    for (const nlohmann::json& one : noted.at("tried")) {
      const bool offload = one.at("rung").get<std::string>() == "offload";
      const MemoryRung rung{.tiles = one.at("tiles").get<bool>(), .offload = offload};
      const auto place = std::find(rungs_.begin(), rungs_.end(), rung);
      if (place == rungs_.end()) continue;  // vae_tiling was another then
      shortages_.push_back({rung, one.at("stage").get<std::string>(), one.at("asked").get<std::string>()});
      at_ = std::max(at_, static_cast<size_t>(place - rungs_.begin()) + 1);
    }
  } catch (const nlohmann::json::exception& error) {
    log_debug("item ", item_.id, ": what it tried for want of memory cannot be read: ", json_problem(error));
  }
}

std::optional<MemoryRung> MemoryLadder::rung() const {
  return at_ < rungs_.size() ? std::optional(rungs_[at_]) : std::nullopt;
}

void MemoryLadder::ran_out(MemoryRung rung, const std::string& stage, const std::string& asked) {
  const auto place = std::find(rungs_.begin(), rungs_.end(), rung);
  RUSHES_CHECK(place != rungs_.end(), rung_name(rung));
  const auto index = static_cast<size_t>(place - rungs_.begin());
  if (index >= at_) {  // else another rank of the clip has noted it
    shortages_.push_back({rung, stage, asked});
    at_ = index + 1;
  }
  claims_.note_memory(item_.id, {{"request", item_.request_hash}, {"tried", tried()}});
  const auto next = this->rung();
  events_.add("item_memory", {{"id", item_.id},
                              {"stage", stage},
                              {"asked", asked},
                              {"ran_out", rung_name(rung)},
                              {"rung", next ? rung_name(*next) : "quarantine"}});
  log_warning(
      "item ", item_.id, ": out of memory in stage '", stage, "'", asking(asked),
      next ? str("; it is made once more ", what_it_is(*next)) : std::string("; no way is left to try"));
}

nlohmann::json MemoryLadder::tried() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Shortage& one : shortages_)
    list.push_back({{"rung", rung_name(one.rung)},
                    {"tiles", one.rung.tiles},
                    {"stage", one.stage},
                    {"asked", one.asked}});
  return list;
}

nlohmann::json MemoryLadder::record() const {
  const auto now = rung();
  if (now == MemoryRung() && shortages_.empty()) return {};
  nlohmann::json record = {{"tried", tried()}};
  if (now) {
    record["rung"] = rung_name(*now);
    record["tiles"] = now->tiles;
  }
  return record;
}

std::string MemoryLadder::verdict() const {
  RUSHES_CHECK(!rung() && !shortages_.empty(), item_.id);
  std::vector<std::string> ways;
  for (const Shortage& one : shortages_)
    ways.push_back(str(what_it_is(one.rung), " (stage '", one.stage, "'", asking(one.asked), ")"));
  std::string text = str("out of memory; tried: ", join(ways, ", "));
  if (job_.kind == JobKind::regress && job_.vae_tiling == VaeTiling::automatic) {
    text +=
        "; tiles were not tried, as they would make another video than the references' (vae_tiling: on, for "
        "these and the references, makes both with tiles)";
  } else if (job_.vae_tiling == VaeTiling::off) {
    text += "; tiles were not tried, since vae_tiling is off";
  }
  return text +
         "; make it smaller (height, width, num_frames), share it out to more ranks (parallel: sp, vae) " +
         "or give it more memory, then run with --retry-failed: no other run tries it again";
}

}  // namespace rushes
