#include "jobs/request_hash.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "config/job_file.h"

namespace rushes {

nlohmann::json make_request(const RequestFacts& facts, const std::string& prompt, const Sampling& sampling,
                            const std::vector<std::string>& keys) {
  nlohmann::json request = {
      {"model", facts.model},
      {"prompt", prompt},
      {"numerics", facts.numerics},
      {"attention", facts.attention},
      {"device", facts.device},
      {"precision.transformer", dtype_name(facts.transformer)},
      {"precision.vae", dtype_name(facts.vae)},
      {"precision.text_encoder", dtype_name(facts.text_encoder)},
  };
  for (const Field<Sampling>& field : sampling_fields()) {
    const bool always = field.key == "fps" || field.key == "seed";
    const bool read = std::find(keys.begin(), keys.end(), field.key) != keys.end() && field.key != "samples";
    if (always || read) request["sampling." + field.key] = field.get(sampling);
  }
  if (!facts.build.empty()) request["build"] = facts.build;
  if (facts.vae_tiles) request["vae_tiling"] = "on";
  return request;
}

std::string hash_request(const nlohmann::json& request) {
  return hash_bytes(request.dump());
}

std::vector<std::string> changed_keys(const nlohmann::json& before, const nlohmann::json& now) {
  std::set<std::string> keys;
  for (const nlohmann::json* request : {&before, &now}) {
    if (!request->is_object()) continue;
    for (const auto& [key, value] : request->items())
      keys.insert(key);
  }
  const auto shown = [](const nlohmann::json& request, const std::string& key) {
    if (!request.is_object() || !request.contains(key)) return std::string("nothing");
    return shortened(yaml_line(request[key]), 60);
  };
  const auto differs = [&](const std::string& key) {
    const bool in_both = before.is_object() && now.is_object() && before.contains(key) && now.contains(key);
    return !in_both || before[key] != now[key];
  };
  std::vector<std::string> changed;
  for (const std::string& key : keys) {
    if (differs(key)) changed.push_back(key + ": " + shown(before, key) + ", now " + shown(now, key));
  }
  return changed;
}

}  // namespace rushes
