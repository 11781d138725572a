#include "jobs/presets.h"

#include <algorithm>
#include <vector>

#include "base/file.h"
#include "config/job_file.h"
#include "config/yaml/yaml.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

struct PresetFile {
  Value match;
  Value sampling;
};

Field<PresetFile> mapping_field(const std::string& key, Value PresetFile::*member,
                                const std::string& meaning) {
  return {key, "a mapping", meaning,
          [=](PresetFile& preset, const Value& value, const std::string& path, Reading& reading) {
            if (value.kind != Value::Kind::mapping)
              return reading.wrong(value, path, "a mapping (key: value)");
            preset.*member = value;
          },
          nullptr};
}

const Fields<PresetFile>& preset_fields() {
  static const Fields<PresetFile> fields = {
      mapping_field("match", &PresetFile::match, "pipeline class and config fields that a model must have"),
      mapping_field("sampling", &PresetFile::sampling, "what it sets"),
  };
  return fields;
}

/// Does the component's config have these fields with these values? `null` asks for a model without the
/// component.
bool component_matches(const ModelDir& model, const std::string& component, const Value& wanted) {
  if (wanted.kind == Value::Kind::nothing) return model.find(component) == nullptr;
  if (model.find(component) == nullptr || wanted.kind != Value::Kind::mapping) return false;
  const nlohmann::json config = model.component_config(component);
  return std::all_of(wanted.entries.begin(), wanted.entries.end(), [&](const Entry& entry) {
    return config.contains(entry.key) && config[entry.key] == nlohmann::json(to_json(entry.value));
  });
}

bool matches(const ModelDir& model, const Value& match) {
  return std::all_of(match.entries.begin(), match.entries.end(), [&](const Entry& entry) {
    if (entry.key == "pipeline") return is_word(entry.value, model.pipeline_class());
    return component_matches(model, entry.key, entry.value);
  });
}

}  // namespace

fs::path configs_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& folder : {program.parent_path().parent_path() / "configs", fs::path(RUSHES_CONFIGS)}) {
    if (fs::is_directory(folder / "models", error)) return folder;
  }
  fail("no folder configs/models beside ", program.parent_path().string(),
       " (presets of the known models lie there); put the program back into its checkout");
}

std::optional<Preset> find_preset(const fs::path& folder, const ModelDir& model, Problems& problems) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder / "models", error)) {
    if (file.path().extension() == ".yaml") files.push_back(file.path());
  }
  if (error) problems.add("cannot read ", (folder / "models").string(), ": ", error.message());
  std::sort(files.begin(), files.end());
  std::optional<Preset> chosen;
  for (const fs::path& file : files) {
    // Shown as people know it, wherever the checkout lies.
    const std::string name = (folder.filename() / "models" / file.filename()).string();
    try {
      std::map<std::string, std::string> sources;
      Reading reading(name, problems, sources);
      PresetFile preset;
      read_fields(preset_fields(), preset, parse_yaml(read_file(file, kMaxYamlBytes), name), "", reading);
      if (preset.match.entries.empty()) {
        problems.add(name, ": match: missing; without it the preset would fit every model");
      } else if (matches(model, preset.match)) {
        if (chosen)
          problems.add(name, ": fits this model as well as ", chosen->file, "; make their 'match' differ");
        chosen = Preset{name, preset.sampling};
      }
    } catch (const UserError& wrong) {
      for (const std::string& problem : wrong.problems())
        problems.add(problem);
    }
  }
  return chosen;
}

}  // namespace rushes
