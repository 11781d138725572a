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

}  // namespace rushes::hub
