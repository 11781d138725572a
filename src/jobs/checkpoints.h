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
#include <string>

#include "jobs/job.h"
#include "jobs/output_folder.h"

namespace rushes {

struct CheckpointRules {
  std::string run;       // this run
  bool fresh = false;    // only what this run kept counts
  double seconds = 300;  // between two of a clip; 0: only where the run is stopped
};

class Checkpoints {
 public:
  Checkpoints(const OutputFolder& folder, const WorkPlace& work, CheckpointRules rules)
      : folder_(folder), work_(work), rules_(std::move(rules)) {}

  /// Of one item, for one try at it. Its save() tells what cannot be written in one warning.
  std::unique_ptr<CheckpointStore> of(const Item& item) const;

 private:
  OutputFolder folder_;
  const WorkPlace& work_;
  CheckpointRules rules_;
};

/// Every checkpoint's file name and when it was written: those that differ from an earlier answer are
/// headway.
std::map<std::string, std::filesystem::file_time_type> checkpoint_times(const OutputFolder& folder);

/// The item is done, or failed: nobody goes on with it.
void remove_checkpoint(const OutputFolder& folder, const std::string& id);

}  // namespace rushes
