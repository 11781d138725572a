#include "weights/hub/needed_files.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "weights/hub/content_hash.h"
#include "weights/model_dir.h"
#include "weights/model_files.h"
#include "weights/words.h"

namespace rushes::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostIndexBytes = uint64_t{16} << 20;
const std::string kIndexFile = "model_index.json";
const std::string kIndexEnd = ".index.json";

/// Of its size too: a crash or a full disk leaves empty files.
bool is_in_place(const Tree& tree, const fs::path& snapshot, const std::string& path) {
  std::error_code error;
  const fs::path file = snapshot / path;
  return fs::is_regular_file(file, error) && fs::file_size(file, error) == tree.at(path).size;
}

/// The keys of the components that model_index.json lists.
std::vector<std::string> component_keys(const fs::path& snapshot, const std::string& name) {
  const nlohmann::json index = parse_json(
      read_file(file_inside(snapshot / kIndexFile, snapshot), kMostIndexBytes), name + ": " + kIndexFile);
  if (!index.is_object()) fail(name, ": ", kIndexFile, " is no JSON object");
  std::vector<std::string> keys;
  for (const auto& [key, value] : index.items()) {
    if (key.starts_with("_") || !value.is_array() || value.size() != 2) continue;
    if (value[0].is_null() && value[1].is_null()) continue;
    if (!is_plain_name(key) || wrong_path(key))
      fail(name, ": ", kIndexFile, ": ", quote_name(key), " is no name of a component's folder");
    keys.push_back(key);
  }
  return keys;
}

/// The component's weights as far as they are known; no weights is well (a tokenizer).
void add_weights(const Tree& tree, const fs::path& snapshot, const std::string& key,
                 std::vector<std::string>& needed) {
  for (const char* stem : {"diffusion_pytorch_model", "model"}) {
    const std::string whole = str(key, "/", stem, ".safetensors");
    const std::string index = whole + ".index.json";
    if (tree.count(whole) != 0) {
      needed.push_back(whole);
      return;
    }
    if (tree.count(index) == 0) continue;
    needed.push_back(index);
    if (!is_in_place(tree, snapshot, index)) return;
    for (const std::string& shard : shards_of_index(snapshot / index, snapshot))
      needed.push_back(key + "/" + shard);
    return;
  }
}

/// Weights in other formats only: pickles and the like are not read.
std::string other_weights(const Tree& tree, const std::string& key) {
  for (const auto& [path, file] : tree) {
    const fs::path there = path;
    const std::string end = there.extension().string();
    const bool weights = end == ".bin" || end == ".pt" || end == ".pth" || end == ".ckpt" ||
                         end == ".msgpack" || end == ".h5" || end == ".safetensors";
    if (there.parent_path() == key && weights) return path;
  }
  return {};
}

}  // namespace

std::vector<std::string> needed_files(const Tree& tree, const fs::path& snapshot, const std::string& name) {
  std::vector<std::string> needed = {kIndexFile};
  if (tree.count(kIndexFile) == 0)
    fail(name, " has no ", kIndexFile,
         ": it is no pipeline in the Diffusers layout; look for a repository whose name ends in -Diffusers");
  if (!is_in_place(tree, snapshot, kIndexFile)) return needed;
  Problems problems;
  for (const std::string& key : component_keys(snapshot, name)) {
    const size_t before = needed.size();
    for (const auto& [path, file] : tree) {
      const fs::path there = path;
      // Configs of variants come along, which are small; not an index beside whole weights, which would make
      // two sets of weights.
      const size_t whole = path.size() - std::min(path.size(), kIndexEnd.size());
      const bool spare = path.ends_with(kIndexEnd) && tree.count(path.substr(0, whole)) != 0;
      if (there.parent_path() == key && is_config_file(there) && !spare) needed.push_back(path);
    }
    const size_t configs = needed.size();
    add_weights(tree, snapshot, key, needed);
    if (before == needed.size()) {
      problems.add(name, ": component ", quote_name(key), " has no files");
    } else if (configs == needed.size()) {
      if (const std::string other = other_weights(tree, key); !other.empty())
        problems.add(name, ": component '", key, "' has its weights only as ", quote_name(other),
                     "; Rushes reads model.safetensors or diffusion_pytorch_model.safetensors: look for a "
                     "revision or copy that has them");
    }
  }
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  for (const std::string& path : needed) {
    if (tree.count(path) == 0)
      problems.add(name, " has no file ", quote_name(path), ", which an index of its own names");
  }
  problems.throw_if_any();
  return needed;
}

bool is_index_file(const std::string& path) {
  return path == kIndexFile || path.ends_with(kIndexEnd);
}

std::vector<std::string> damaged_indices(const Cache& cache, const Tree& tree, const std::string& commit) {
  std::vector<std::string> damaged;
  for (const auto& [path, file] : tree) {
    const bool here = is_index_file(path) && cache.in_place(commit, path, file);
    if (here && hash_of_file(cache.snapshot(commit) / path, file.etag(), file.size) != file.etag())
      damaged.push_back(path);
  }
  return damaged;
}

}  // namespace rushes::hub
