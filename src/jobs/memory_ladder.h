#pragma once
// What becomes of an item whose making runs out of memory: it is tried again at once, one rung further, and
// where no rung is left it fails for good.
//
//   rung       the clip is made                                                        its bits
//   "none"     as any other
//   "tiles"    with the VAE coding the picture in blended tiles                        differ from "none"
//   "offload"  besides with no weights in memory but those of the stage at work        as without
//
// `vae_tiling: on` begins at "tiles"; `off`, and job: regress (its references are of whole pictures), goes
// from "none" to "offload" without tiles. What was tried is kept beside the item's deaths until the item is
// done or failed, so that after a rank of several had to end the world, or a stop, the next run begins one
// rung further. It counts for this very request only.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "jobs/claims.h"
#include "jobs/events.h"
#include "jobs/job.h"

namespace rushes {

/// "none", "tiles", "offload"
const char* rung_name(MemoryRung rung);

class MemoryLadder {
 public:
  /// Of one item, with what earlier runs noted of it. All four must outlive the ladder.
  MemoryLadder(const Job& job, const Item& item, const Claims& claims, const EventLog& events);

  /// How to make the clip; nothing: no rung is left.
  std::optional<MemoryRung> rung() const;
  /// A try on `rung` ran out of memory in `stage`; `asked`: how much it asked for, or "". Notes it, says so
  /// in the log and as the event item_memory: {"id", "stage", "asked", "ran_out": this rung, "rung": the
  /// next, "quarantine" where there is none}.
  void ran_out(MemoryRung rung, const std::string& stage, const std::string& asked);
  /// For the item's record: {"rung": ..., "tiles": are there any, "tried": [{"rung", "tiles", "stage",
  /// "asked"}, ...]}, of a failed item without the first two; null where nothing is special.
  nlohmann::json record() const;
  /// Why the item fails, and what to do; once no rung is left.
  std::string verdict() const;

 private:
  struct Shortage {
    MemoryRung rung;
    std::string stage, asked;
  };
  nlohmann::json tried() const;
  void read(const nlohmann::json& noted);

  const Job& job_;
  const Item& item_;
  const Claims& claims_;
  const EventLog& events_;
  std::vector<MemoryRung> rungs_;
  std::vector<Shortage> shortages_;
  size_t at_ = 0;  // of rungs_
};

}  // namespace rushes
