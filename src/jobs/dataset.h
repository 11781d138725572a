#pragma once
// Looking at the data set in an output folder, and writing it in another form. Reads only.

#include <cstdint>
#include <filesystem>
#include <string>

#include "jobs/shards.h"

namespace rushes {

/// Samples, files, arrays with their shapes and sizes: for people. `verify`: shards are read whole first.
std::string dataset_text(const OutputFolder& folder, bool verify, FileHashes& hashes);

struct ExportOptions {
  std::filesystem::path to;        // made where it is not there; must hold no tar files
  int64_t most_clips = 1000;       // of one file
  int64_t most_bytes = 1ll << 30;  // of one file, after which the next begins
};
struct ExportCount {
  int64_t samples = 0, files = 0;
};
/// Every sample, of shards and spooled, as samples-000000.tar and so on, each whole or not there (see
/// datasets/webdataset.h). Throws UserError.
ExportCount export_webdataset(const OutputFolder& folder, const ExportOptions& options);

}  // namespace rushes
