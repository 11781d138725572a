#include "weights/model_files.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "weights/model_dir.h"
#include "weights/words.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxIndex = uint64_t{64} << 20;
constexpr size_t kMaxMissingShards = 20;  // that are named: another component may be wrong as well

bool begins_with(const fs::path& path, const fs::path& start) {
  const auto [at_start, at_path] = std::mismatch(start.begin(), start.end(), path.begin(), path.end());
  return at_start == start.end();
}

/// ".../models--org--name", where `root` lies in ".../models--org--name/snapshots/REV".
std::optional<fs::path> hub_repository(const fs::path& root) {
  for (fs::path at = root; at.has_relative_path(); at = at.parent_path()) {
    const fs::path snapshots = at.parent_path();
    const fs::path repository = snapshots.parent_path();
    if (snapshots.filename() == "snapshots" && repository.filename().string().starts_with("models--"))
      return repository;
  }
  return {};
}

/// Is `real` a content that huggingface_hub keeps for the repository: a file directly in its `blobs`, or one
/// of the store that all repositories of the cache share (huggingface_hub's utils/_shared_blobs.py)?
bool is_hub_blob(const fs::path& real, const fs::path& repository) {
  if (real.parent_path() == repository / "blobs") return true;
  const fs::path store = repository.parent_path() / "blobs";
  const std::string name = real.filename().string();
  const bool hash = name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
  std::error_code error;
  return hash && real.parent_path() == store / name.substr(0, 2) &&
         fs::is_regular_file(store / ".huggingface-shared-blobs", error);
}

fs::path real_path_inside(const fs::path& path, const fs::path& root) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) fail("cannot read ", path.string(), ": ", error.message());
  const fs::path real_root = fs::canonical(root, error);
  if (error) fail("cannot read ", root.string(), ": ", error.message());
  if (begins_with(real, real_root)) return real;
  const auto repository = hub_repository(real_root);
  if (repository && is_hub_blob(real, *repository)) return real;
  fail(path.string(), " is a link that leads out of the model folder, to ", real.string(),
       ": put the file itself there");
}

/// The index's tensors and shards, by name alone.
WeightFiles parse_index(const fs::path& index, const fs::path& root, std::set<std::string>& shards,
                        Problems& problems) {
  const std::string where = index.string();
  const nlohmann::json object = parse_json(read_file(file_inside(index, root), kMaxIndex), where);
  const auto map = object.find("weight_map");
  if (!object.is_object() || map == object.end() || !map->is_object()) {
    fail(where, ": needs an object 'weight_map' of tensor names to shard files");
  }
  if (map->empty()) fail(where, ": 'weight_map' is empty");
  WeightFiles found;
  found.index = index;
  std::set<std::string> refused;
  for (const auto& [name, value] : map->items()) {
    if (!value.is_string()) {
      problems.add(where, ": tensor ", quote_name(name), ": the shard's file name must be a text, found ",
                   value.type_name());
      continue;
    }
    const std::string shard = value.get<std::string>();
    found.shard_of.emplace(name, shard);
    if (shards.count(shard) != 0 || refused.count(shard) != 0) continue;
    if (is_plain_name(shard)) {
      shards.insert(shard);
    } else {
      refused.insert(shard);
      problems.add(where, ": tensor ", quote_name(name), ": the shard ", quote_name(shard),
                   " must be the name of a file beside the index");
    }
  }
  return found;
}

WeightFiles read_index(const fs::path& index, const fs::path& folder, const fs::path& root) {
  Problems problems;
  std::set<std::string> shards;
  WeightFiles found = parse_index(index, root, shards, problems);
  size_t missing = 0;
  for (const auto& shard : shards) {
    if (is_there(folder / shard)) {
      found.files.push_back(folder / shard);
    } else if (++missing <= kMaxMissingShards) {
      problems.add(index.string(), ": the shard ", quote_name(shard), " is missing in ", folder.string());
    }
  }
  if (missing > kMaxMissingShards)
    problems.add(index.string(), ": and ", missing - kMaxMissingShards, " missing shards more");
  problems.throw_if_any();
  return found;
}

}  // namespace

fs::path file_inside(const fs::path& file, const fs::path& root) {
  fs::path real = real_path_inside(file, root);
  std::error_code error;
  if (!fs::is_regular_file(real, error)) fail("cannot read ", file.string(), ": it is not a regular file");
  return real;
}

fs::path folder_inside(const fs::path& folder, const fs::path& root) {
  fs::path real = real_path_inside(folder, root);
  std::error_code error;
  if (!fs::is_directory(real, error)) fail(folder.string(), " is not a folder");
  return real;
}

bool is_there(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (error && status.type() != fs::file_type::not_found)
    fail("cannot look at ", path.string(), ": ", error.message());
  return fs::exists(status);
}

bool is_plain_name(const std::string& name) {
  constexpr size_t kLongest = 255;  // that a file system takes
  return !name.empty() && name.size() <= kLongest && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

bool is_config_file(const fs::path& file) {
  static const std::vector<std::string> kEnds = {".json", ".txt", ".model", ".jinja", ".yaml"};
  return std::find(kEnds.begin(), kEnds.end(), file.extension().string()) != kEnds.end();
}

std::vector<std::string> shards_of_index(const fs::path& index, const fs::path& root) {
  Problems problems;
  std::set<std::string> shards;
  parse_index(index, root, shards, problems);
  problems.throw_if_any();
  return {shards.begin(), shards.end()};
}

std::optional<WeightFiles> find_weight_files(const fs::path& folder, const fs::path& root) {
  std::vector<fs::path> candidates;
  for (const char* stem : {"diffusion_pytorch_model", "model"}) {
    for (const char* end : {".safetensors", ".safetensors.index.json"}) {
      const fs::path path = folder / str(stem, end);
      if (is_there(path)) candidates.push_back(path);
    }
  }
  if (candidates.empty()) return {};
  if (candidates.size() > 1) {
    fail(folder.string(), " holds two sets of weights, ", candidates[0].filename().string(), " and ",
         candidates[1].filename().string(), ": which one counts? Remove the other");
  }
  if (candidates[0].extension() == ".json") return read_index(candidates[0], folder, root);
  WeightFiles found;
  found.files.push_back(candidates[0]);
  return found;
}

}  // namespace rushes
