#include "weights/model_dir.h"

#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "weights/model_files.h"
#include "weights/words.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfig = uint64_t{16} << 20;
constexpr uint64_t kMaxComponentFile = uint64_t{256} << 20;

nlohmann::json read_object(const fs::path& file, const fs::path& root) {
  const std::string text = read_file(file_inside(file, root), kMaxConfig);
  nlohmann::json value = parse_json(text, file.string());
  if (!value.is_object()) fail(file.string(), ": must be a JSON object, found ", value.type_name());
  return value;
}

std::string index_file(const fs::path& path) {
  return (path / "model_index.json").string();
}

/// A component's entry, or nothing for a plain setting of the pipeline and for [null, null].
std::optional<ComponentEntry> read_entry(const std::string& key, const nlohmann::json& value,
                                         const fs::path& path, Problems& problems) {
  if (!value.is_array() || key.starts_with("_")) return {};
  const std::string where = str(index_file(path), ": ", quote_name(key), ": ");
  if (value.size() != 2) {
    problems.add(where, "needs [library, class], found ", value.size(), " values");
    return {};
  }
  if (value[0].is_null() && value[1].is_null()) return {};
  if (!value[0].is_string() || !value[1].is_string()) {
    problems.add(where, "needs two texts [library, class], found [", value[0].type_name(), ", ",
                 value[1].type_name(), "]");
    return {};
  }
  if (!is_plain_name(key)) {
    problems.add(where, "a component's key must be the name of a folder in the model folder");
    return {};
  }
  return ComponentEntry{key, value[0].get<std::string>(), value[1].get<std::string>()};
}

}  // namespace

ModelDir ModelDir::open(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) fail("model ", path.string(), " does not exist");
  if (!fs::is_directory(path, error)) fail("model ", path.string(), " is not a folder");
  const std::string where = index_file(path);
  if (!is_there(where)) {
    fail("model ", path.string(), " has no model_index.json: it must be a folder in the Diffusers layout");
  }
  ModelDir model;
  model.path_ = path;
  model.index_ = read_object(where, path);
  Problems problems;
  const auto name = model.index_.find("_class_name");
  if (name == model.index_.end() || !name->is_string()) {
    problems.add(where, ": needs the pipeline's name as text in '_class_name'");
  } else {
    model.pipeline_class_ = name->get<std::string>();
  }
  for (const auto& [key, value] : model.index_.items()) {
    auto entry = read_entry(key, value, path, problems);
    if (!entry) continue;
    const fs::path folder = path / key;
    if (!is_there(folder)) {
      problems.add(where, ": component '", key, "' (", quote_name(entry->class_name), "): the folder ",
                   folder.string(), " is missing");
      continue;
    }
    try {
      folder_inside(folder, path);
    } catch (const UserError& wrong) {
      problems.add(where, ": component '", key, "': ", wrong.what());
      continue;
    }
    model.components_.push_back(*std::move(entry));
  }
  problems.throw_if_any();
  return model;
}

const ComponentEntry* ModelDir::find(const std::string& key) const {
  for (const auto& component : components_) {
    if (component.key == key) return &component;
  }
  return nullptr;
}

const ComponentEntry& ModelDir::require(const std::string& key) const {
  if (const ComponentEntry* found = find(key)) return *found;
  std::vector<std::string> keys;
  for (const auto& component : components_)
    keys.push_back(component.key);
  fail(index_place(), ": has no component ", quote_name(key), " (it has ",
       keys.empty() ? "none" : join(keys, ", "), ")", did_you_mean(key, keys));
}

fs::path ModelDir::component_path(const std::string& key) const {
  return path_ / require(key).key;
}

nlohmann::json ModelDir::component_config(const std::string& key) const {
  const ComponentEntry& entry = require(key);
  const fs::path folder = component_path(key);
  const bool scheduler = entry.class_name.find("Scheduler") != std::string::npos;
  const fs::path file = folder / (scheduler ? "scheduler_config.json" : "config.json");
  if (!is_there(file)) {
    fail("component '", key, "' (", quote_name(entry.class_name), "): ", file.string(), " is missing");
  }
  nlohmann::json config = read_object(file, path_);
  // A scheduler may be started from another one's config (diffusers' from_config); a model may not. Where
  // none is stated, model_index.json's counts, as in diffusers.
  const auto stated = config.find("_class_name");
  if (!scheduler && stated != config.end() && *stated != entry.class_name) {
    fail(file.string(), ": is of class ",
         stated->is_string() ? quote_name(stated->get<std::string>()) : stated->type_name(), ", but ",
         index_place(), " says that '", key, "' is ", quote_name(entry.class_name));
  }
  return config;
}

TensorStore ModelDir::component_tensors(const std::string& key) const {
  return TensorStore::open_folder(component_path(key), path_);
}

std::optional<std::string> ModelDir::component_file(const std::string& key, const std::string& name) const {
  RUSHES_CHECK(is_plain_name(name), name);
  const fs::path file = component_path(key) / name;
  if (!is_there(file)) return {};
  return read_file(file_inside(file, path_), kMaxComponentFile);
}

}  // namespace rushes
