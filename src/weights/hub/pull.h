#pragma once
// A model of the Hub as a folder on this machine.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/stop.h"
#include "weights/hub/model_id.h"
#include "weights/hub/settings.h"

namespace rushes::hub {

struct Pulled {
  ModelId model;
  std::string commit;            // that the revision is, 40 hex digits
  std::filesystem::path folder;  // the snapshot, in the Diffusers layout

  /// "org/name@commit": the same weights for ever.
  std::string pinned() const { return model.name + "@" + commit; }
};

struct PullOptions {
  const StopToken* stop = nullptr;
  bool quiet = false;  // no lines about headway
};

/// Fetches of the model what the pipeline needs and what the cache has not; asks nobody where a commit is
/// named and all of it is there. Processes that pull the same commit into one cache wait for the first one of
/// them. Where the Hub cannot be reached and the cache holds the revision whole, that is taken with a
/// warning. Throws UserError (what is wrong and what to do), StoppedEarly.
Pulled pull(const ModelId& model, const Settings& settings, const PullOptions& options);

/// A commit in the cache.
struct CachedCommit {
  ModelId model;  // the revision: its branch or tag, else the commit
  std::string commit;
  std::vector<std::string> files;  // that the pipeline needs
  uint64_t bytes = 0;              // of those that are there
  bool whole = false;
};
std::vector<CachedCommit> list_cached(const Settings& settings);

/// Reads every byte of the files that the pipeline needs and compares it with the Hub's hashes; nothing is
/// asked of the Hub. Throws UserError with one line for each file that is missing or wrong. Gives the number
/// of files.
size_t verify(const ModelId& model, const Settings& settings);

}  // namespace rushes::hub
