#pragma once
// A model folder in the Diffusers layout: model_index.json, one folder a component. What a model is comes
// from these files alone, never from how its path is spelt.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "weights/tensor_store.h"

namespace rushes {

struct ComponentEntry {
  std::string key;         // "transformer", "vae", "text_encoder", "tokenizer", "scheduler", ...
  std::string library;     // "diffusers", "transformers"
  std::string class_name;  // "WanTransformer3DModel", ...
};

class ModelDir {
 public:
  /// Reads model_index.json and looks that each component's folder is there. Throws UserError listing all
  /// problems.
  static ModelDir open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::string& pipeline_class() const { return pipeline_class_; }  // "_class_name": "WanPipeline"
  const nlohmann::json& index() const { return index_; }                 // model_index.json
  const std::vector<ComponentEntry>& components() const { return components_; }
  /// The component, or nullptr where model_index.json has none (or [null, null]) of that key.
  const ComponentEntry* find(const std::string& key) const;
  /// The component; throws UserError naming the keys there are.
  const ComponentEntry& require(const std::string& key) const;

  /// "models/x/model_index.json", for messages.
  std::string index_place() const { return (path_ / "model_index.json").string(); }

  std::filesystem::path component_path(const std::string& key) const;
  /// config.json (models) or scheduler_config.json (schedulers): an object, or UserError with file and
  /// reason. A model's config that states another `_class_name` than model_index.json is refused.
  nlohmann::json component_config(const std::string& key) const;
  TensorStore component_tensors(const std::string& key) const;
  /// A file inside the component's folder (e.g. "tokenizer.json"); nothing where it does not exist.
  std::optional<std::string> component_file(const std::string& key, const std::string& name) const;
  /// Says which model this is, wherever it lies, in 32 hex digits: from the bytes of model_index.json and of
  /// each component's config, tokenizer and weight files (those that would be loaded). Of a file above 64 MiB
  /// only the size, the first MiB, the last 64 KiB and 256 blocks of 64 KiB evenly spaced between are read,
  /// so that 28 GB take a second or two. What that cannot see: a change of such a file that keeps its size
  /// and header and lies wholly between the blocks. A fine-tuned, converted or half-downloaded file differs
  /// nearly everywhere; `weights verify` reads every byte.
  std::string fingerprint() const;

 private:
  std::filesystem::path path_;
  std::string pipeline_class_;
  nlohmann::json index_;
  std::vector<ComponentEntry> components_;
};

/// Parses JSON text with bounded depth; UserError with `where`, line and column. Duplicate keys are an error.
nlohmann::json parse_json(const std::string& text, const std::string& where);

}  // namespace rushes
