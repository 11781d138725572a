#pragma once
// Fetches files of a commit into the cache, several at once. A blob appears under its name only when every
// byte of it has been checked; what has come of one that is not whole is kept, and continued by the next
// start.

#include <string>
#include <vector>

#include "weights/hub/api.h"
#include "weights/hub/cache.h"
#include "weights/hub/pull_progress.h"

namespace rushes::hub {

struct Wanted {
  std::string path;
  TreeFile file;
};

struct DownloadContext {
  const Settings& settings;
  const Cache& cache;
  const ModelId& model;
  const std::string& commit;
  PullProgress& progress;
  const Heartbeat heartbeat;
  const StopToken* stop = nullptr;
};

/// Each file once, whoever else fetches it meanwhile. Throws UserError (of all that went wrong, one line a
/// file), Unreachable, StoppedEarly.
void download(const DownloadContext& context, std::vector<Wanted> files);

}  // namespace rushes::hub
