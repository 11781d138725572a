#include "jobs/resolution.h"

#include <algorithm>
#include <ctime>

#include "attention/fastest_attention.h"
#include "base/process.h"
#include "device/device.h"
#include "weights/hub/model_id.h"

namespace rushes {
namespace {

/// Leaves of the tables: "model", "sampling.height", ...
void flatten(const nlohmann::ordered_json& tree, const std::string& prefix,
             std::vector<std::pair<std::string, nlohmann::ordered_json>>& leaves) {
  for (const auto& [key, value] : tree.items()) {
    if (value.is_object()) {
      flatten(value, prefix + key + ".", leaves);
    } else {
      leaves.emplace_back(prefix + key, value);
    }
  }
}

}  // namespace

PipelineOptions resolve_options(const JobFile& job, bool device_elsewhere, const std::string& where,
                                Problems& problems) {
  PipelineOptions options;
  if (job.device == DeviceKind::cuda && device_elsewhere) {
    options.device = at::Device(at::kCUDA, 0);
  } else {
    try {
      options.device = pick_device(job.device, /*local_rank=*/0);
    } catch (const UserError& error) {
      for (const std::string& problem : error.problems())
        problems.add(where, ": ", problem.starts_with("device: ") ? "" : "device: ", problem);
    }
  }
  const bool cuda = options.device.is_cuda();
  const Dtype usual = cuda ? Dtype::bfloat16 : Dtype::float32;
  options.transformer = job.precision.transformer.value_or(usual);
  options.vae = job.precision.vae.value_or(Dtype::float32);
  options.text_encoder = job.precision.text_encoder.value_or(usual);
  const AttentionBackend fastest = fastest_attention(options.device, options.transformer);
  options.encodes = job.kind == JobKind::preprocess;
  options.attention = job.attention == "reference" ? AttentionBackend::reference
                      : job.attention == "sdpa"    ? AttentionBackend::sdpa
                      : job.attention == "flash"   ? AttentionBackend::flash
                                                   : fastest;
  if (job.attention == "flash" && fastest != AttentionBackend::flash)
    problems.add(where, ": attention: flash runs on CPUs with AVX2, in float32 and bfloat16, not on ",
                 options.device.str(), " in ", dtype_name(options.transformer), "; use auto or sdpa");
  return options;
}

std::string today() {
  const time_t now = time(nullptr);
  tm parts{};
  gmtime_r(&now, &parts);
  char text[16];
  return {text, strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

std::string model_name(const std::string& model) {
  std::error_code error;
  if (hub::looks_like_model_id(model) && !std::filesystem::is_directory(model, error)) {
    const std::string id = model.substr(0, model.find('@'));  // a revision may have a '/'
    return id.substr(id.find('/') + 1);
  }
  std::filesystem::path path = std::filesystem::path(model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "models/wan/"
  const std::string name = path.filename().string();
  return name.substr(0, name.find('@'));
}

std::string fill_output(const JobFile& job, const std::filesystem::path& file, const std::string& date,
                        const std::string& where, Problems& problems) {
  const std::vector<std::pair<std::string, std::string>> words = {
      {"date", date}, {"job", file.stem().string()}, {"model", model_name(job.model)}};
  std::string filled;
  for (size_t at = 0; at < job.output.size();) {
    const size_t open = job.output.find('{', at);
    const size_t close = open == std::string::npos ? open : job.output.find('}', open);
    if (close == std::string::npos) return filled + job.output.substr(at);
    filled += job.output.substr(at, open - at);
    const std::string word = job.output.substr(open + 1, close - open - 1);
    bool known = false;
    for (const auto& [name, value] : words) {
      if (name == word) filled += value;
      known = known || name == word;
    }
    if (!known) {
      problems.add(where, ": output: '{", shortened(word, 40),
                   "}' is not filled in; {date}, {job} and {model} are",
                   did_you_mean(word, {"date", "job", "model"}));
    }
    at = close + 1;
  }
  return filled;
}

JobFile with_options(JobFile job, const PipelineOptions& options) {
  job.device = options.device.is_cuda() ? DeviceKind::cuda : DeviceKind::cpu;
  job.precision = {options.transformer, options.vae, options.text_encoder};
  job.attention = options.attention == AttentionBackend::reference ? "reference"
                  : options.attention == AttentionBackend::flash   ? "flash"
                                                                   : "sdpa";
  return job;
}

std::vector<SettingRow> setting_rows(const JobFile& given, const JobFile& resolved,
                                     const std::map<std::string, std::string>& sources) {
  std::vector<std::pair<std::string, nlohmann::ordered_json>> before, after;
  flatten(get_fields(job_fields(), given), "", before);
  flatten(get_fields(job_fields(), resolved), "", after);
  RUSHES_CHECK(before.size() == after.size(), before.size(), " and ", after.size());
  std::vector<SettingRow> rows;
  for (size_t i = 0; i < after.size(); ++i) {
    const auto& [key, value] = after[i];
    const auto source = sources.find(key);
    std::string from = source == sources.end() ? "default" : source->second;
    if (before[i].second == "auto" && value != "auto") from += " (auto)";
    rows.push_back({key, yaml_line(value), from});
  }
  return rows;
}

std::vector<SettingRow> override_rows(const std::vector<SettingRow>& rows, const std::vector<Value>& set,
                                      uint64_t own_keys) {
  const std::vector<std::string> keys = field_keys(sampling_fields());
  std::vector<SettingRow> above;
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool given = std::any_of(set.begin(), set.end(), [&](const Value& document) {
      const Entry* sampling = document.find("sampling");
      return sampling != nullptr && sampling->value.find(keys[i]) != nullptr;
    });
    if (!given || (own_keys >> i & 1) == 0) continue;
    for (const SettingRow& row : rows) {
      if (row.key == "sampling." + keys[i]) above.push_back({"override." + keys[i], row.value, row.source});
    }
  }
  return above;
}

uint64_t own_keys_of(const std::vector<Item>& items) {
  uint64_t keys = 0;
  for (const Item& item : items)
    keys |= item.own_keys;
  return keys;
}

std::string rows_to_yaml(const std::vector<SettingRow>& rows, const std::string& title) {
  std::string yaml = str("# ", title, "\n");
  std::string section;
  for (const SettingRow& row : rows) {
    const size_t dot = row.key.find('.');
    const std::string own = dot == std::string::npos ? "" : row.key.substr(0, dot);
    if (own != section && !own.empty()) yaml += own + ":\n";
    section = own;
    yaml += str(own.empty() ? "" : "  ", own.empty() ? row.key : row.key.substr(dot + 1), ": ", row.value,
                "  # ", one_line(row.source), "\n");
  }
  return yaml;
}

RequestFacts request_facts(const JobFile& job, const PipelineOptions& options,
                           const std::string& fingerprint) {
  const JobFile resolved = with_options(job, options);
  RequestFacts facts;
  facts.model = fingerprint;
  facts.numerics = find_field(job_fields(), "numerics")->get(job).get<std::string>();
  facts.attention = resolved.attention;
  facts.device = options.device.is_cuda() ? "cuda" : "cpu";
  facts.transformer = options.transformer;
  facts.vae = options.vae;
  facts.text_encoder = options.text_encoder;
  facts.vae_tiles = job.vae_tiling == VaeTiling::on;
  return facts;
}

}  // namespace rushes
