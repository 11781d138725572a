#include "regression/history.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

using nlohmann::json;

constexpr const char* kSchema = "rushes.history/1";

std::filesystem::path history_path(const ReferenceStore& references) {
  return references.root() / "history.jsonl";
}

Night night_from(const json& line) {
  Night night;
  night.time = line.at("time").get<std::string>();
  night.output = line.at("output").get<std::string>();
  night.run = line.at("run").get<std::string>();
  night.build = line.at("build").get<std::string>();
  night.passed = line.at("passed").get<bool>();
  for (const auto& [name, clip] : line.at("clips").items()) {
    NightlyClip one;
    one.verdict = clip.at("verdict").get<std::string>();
    one.compared = clip.contains("worst_ssim");
    if (one.compared) {
      one.worst_ssim = clip.at("worst_ssim").get<double>();
      one.mean_ssim = clip.at("mean_ssim").get<double>();
    }
    night.clips[name] = one;
  }
  return night;
}

}  // namespace

std::optional<double> Night::worst(const std::vector<std::string>& names) const {
  std::optional<double> least;
  for (const std::string& name : names) {
    const auto at = clips.find(name);
    if (at != clips.end() && at->second.compared) least = std::min(least.value_or(1), at->second.worst_ssim);
  }
  return least;
}

std::string history_name(const ClipComparison& clip) {
  return clip.key + "/" + clip.id;
}

void note_in_history(const ReferenceStore& references, const Comparison& comparison) {
  json clips = json::object();
  for (const ClipComparison& clip : comparison.clips) {
    json one = {{"verdict", verdict_word(clip.verdict)}};
    if (clip.compared()) {
      one["worst_ssim"] = clip.metrics.worst_ssim();
      one["mean_ssim"] = clip.metrics.mean_ssim();
    }
    clips[history_name(clip)] = std::move(one);
  }
  append_json_line(history_path(references), {{"schema", kSchema},
                                              {"time", comparison.time},
                                              {"output", comparison.output},
                                              {"run", comparison.run},
                                              {"build", comparison.build},
                                              {"passed", comparison.passed()},
                                              {"clips", std::move(clips)}});
}

std::vector<Night> read_history(const ReferenceStore& references, size_t most) {
  std::vector<Night> nights;
  std::error_code error;
  if (!std::filesystem::is_regular_file(history_path(references), error))
    return nights;  // a pipe would wait for ever
  std::ifstream file(history_path(references), std::ios::binary);
  std::string line;
  while (std::getline(file, line)) {
    try {
      const json object = parse_json(line, "history.jsonl");
      if (!object.is_object() || object.value("schema", "") != kSchema) continue;
      Night night = night_from(object);
      // The same clips compared again say nothing new.
      std::erase_if(
          nights, [&](const Night& other) { return other.output == night.output && other.run == night.run; });
      nights.push_back(std::move(night));
      if (nights.size() > most) nights.erase(nights.begin());
    } catch (const UserError&) {  // half a line of a process that died
    } catch (const json::exception&) {
    }
  }
  return nights;
}

}  // namespace rushes
