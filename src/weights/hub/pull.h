#pragma once
// A model of the Hub as a folder on this machine.

#include <filesystem>
#include <string>

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
/// warning; a whole one is taken from a cache that cannot be written, too. Throws UserError (what is wrong
/// and what to do), StoppedEarly.
Pulled pull(const ModelId& model, const Settings& settings, const PullOptions& options);

}  // namespace rushes::hub
