#pragma once
// Clips that are not through, kept on disk: `.rushes/checkpoints/<id>.safetensors`, the latents and the
// scheduler's history after some denoising step. Whoever makes the item next goes on from there, on whatever
// layout; a clip that went on with the build, numbers and layout it began with has the very bytes of one that
// never stopped.
//
// A cache: any of them may be deleted at any time. One of another request, another build, another --fresh
// run, or that is not as it was written, counts as none.

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "jobs/claims.h"
#include "jobs/events.h"
#include "jobs/job.h"
#include "jobs/output_folder.h"

namespace rushes {

/// One clip's checkpoint, for one try at it.
class ClipCheckpoint : public CheckpointStore {
 public:
  /// What earlier processes made of the clip, where load() found that, one after the other: `run`, `owner`,
  /// `layout`, `instructions` (of the processor), `steps_done` (denoising steps behind it), `seconds` (of
  /// making it).
  virtual nlohmann::json legs() const = 0;
};

struct CheckpointRules {
  std::string run;           // this run
  bool fresh = false;        // only what this run kept counts
  double seconds = 300;      // between two of a clip; 0: only where the run is stopped
  std::string layout;        // this run's
  bool same_layout = false;  // goes on only with what this layout and instruction set began (job: regress)
};

class Checkpoints {
 public:
  /// `claims`: only who holds an item's claim keeps anything of it. `events` hears of each that is kept.
  Checkpoints(const OutputFolder& folder, const WorkPlace& work, const Claims& claims, const EventLog& events,
              CheckpointRules rules)
      : folder_(folder), work_(work), claims_(claims), events_(events), rules_(std::move(rules)) {}

  /// Of one item, for one try at it. Its save() tells what cannot be written in one warning.
  std::unique_ptr<ClipCheckpoint> of(const Item& item) const;

 private:
  OutputFolder folder_;
  const WorkPlace& work_;
  const Claims& claims_;
  const EventLog& events_;
  CheckpointRules rules_;
};

/// Removes those of items that are done and that nobody works on.
void sweep_checkpoints(const OutputFolder& folder, const std::set<std::string>& done);

/// Every checkpoint's file name and when it was written: those that differ from an earlier answer are
/// headway.
std::map<std::string, std::filesystem::file_time_type> checkpoint_times(const OutputFolder& folder);

/// The item is done, or failed: nobody goes on with it.
void remove_checkpoint(const OutputFolder& folder, const std::string& id);

}  // namespace rushes
