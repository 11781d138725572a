#pragma once
// What of the Hub's models is on this machine; nothing is asked of the Hub.

#include <cstdint>
#include <string>
#include <vector>

#include "weights/hub/model_id.h"
#include "weights/hub/settings.h"

namespace rushes::hub {

/// A commit in the cache.
struct CachedCommit {
  std::string name;                    // "org/name"
  std::string commit;                  // "": there is none, only what a download left
  std::vector<std::string> revisions;  // branches and tags that it is, as far as is known here
  bool listed = false;                 // the list of its files is here: without it the rest is not known
  bool all_known = false;              // no index is missing, which would name more files
  size_t files = 0, there = 0;         // that a pipeline needs, and those of them that are whole
  uint64_t all_bytes = 0, bytes = 0;   // of the same; of leftovers what lies there
  std::vector<std::string> troubles;   // "vae/config.json is missing"
  std::string refusal;                 // why it is no pipeline that Rushes could read

  bool whole() const { return listed && all_known && refusal.empty() && troubles.empty(); }
  /// What `weights pull` takes for it.
  std::string text() const;
};
std::vector<CachedCommit> list_cached(const Settings& settings);

/// Reads every byte of the files that the pipeline needs and compares it with the Hub's hashes. Throws
/// UserError with one line for each file that is missing or wrong. Gives the number of files.
size_t verify(const ModelId& model, const Settings& settings);

}  // namespace rushes::hub
