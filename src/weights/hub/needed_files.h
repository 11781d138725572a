#pragma once
// Which files of a repository a pipeline needs.

#include <filesystem>
#include <string>
#include <vector>

#include "weights/hub/cache.h"

namespace rushes::hub {

/// The paths that are known to be needed, in order, by what of them already lies in `snapshot`: first
/// model_index.json; once that is there, of each of its components all configs and tokenizer files
/// (everything that ModelDir::fingerprint covers, so that a model is the same from the Hub as from a folder)
/// and its weights: one safetensors file, or else the index; once that is there, the shards that it names.
/// Nothing else: no .bin, no variants. When all that it gives are there, that is all there is. Throws
/// UserError that says what the repository lacks; `name` is what messages call it.
std::vector<std::string> needed_files(const Tree& tree, const std::filesystem::path& snapshot,
                                      const std::string& name);

/// Does the file name others that are needed: model_index.json, or the index of shards?
bool is_index_file(const std::string& path);
/// Index files in place whose bytes are not what the Hub lists.
std::vector<std::string> damaged_indices(const Cache& cache, const Tree& tree, const std::string& commit);

}  // namespace rushes::hub
