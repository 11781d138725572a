#pragma once
// Which files of a model folder are read: nothing outside of it, and which weight files a component has.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace rushes {

/// The real path of `file`. Throws UserError where it does not exist, is no regular file, or lies outside of
/// `root` (by a symlink). Allowed besides: links from a Hub cache's `models--org--name/snapshots/REV` to the
/// files of the same `models--org--name/blobs`, and from there to the store that the cache's repositories
/// share (`blobs/ab/ab12...` beside `models--org--name`, with huggingface_hub's mark in it).
std::filesystem::path file_inside(const std::filesystem::path& file, const std::filesystem::path& root);
/// The same for a folder.
std::filesystem::path folder_inside(const std::filesystem::path& folder, const std::filesystem::path& root);

/// Is something of that name there? A dangling link counts, so that it is complained about and not passed
/// over.
bool is_there(const std::filesystem::path& path);

/// A plain name of a file or folder: not empty, no '/', no NUL, not "." or "..".
bool is_plain_name(const std::string& name);

/// Everything small that can decide a result: configs, tokenizers, vocabularies, templates; by the file's
/// name.
bool is_config_file(const std::filesystem::path& file);

struct WeightFiles {
  std::vector<std::filesystem::path> files;     // sorted; one, or the shards
  std::filesystem::path index;                  // "" for a single file
  std::map<std::string, std::string> shard_of;  // tensor -> shard's name; empty for a single file
};

/// The names of the shards that an index file lists, each a plain name, in order. Throws UserError.
std::vector<std::string> shards_of_index(const std::filesystem::path& index,
                                         const std::filesystem::path& root);

/// The weight files of a component folder, by name alone (shards by the index), or nothing where there are
/// none. Throws UserError where the index is unusable or names what is not there, or where the folder holds
/// two sets of weights.
std::optional<WeightFiles> find_weight_files(const std::filesystem::path& folder,
                                             const std::filesystem::path& root);

}  // namespace rushes
