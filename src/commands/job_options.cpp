#include "commands/job_options.h"

#include "config/value.h"

namespace rushes {

void add_job_options(cxxopts::Options& options) {
  options.positional_help("JOB");
  options.add_options()("job", "job file", cxxopts::value<std::string>(), "JOB");
  add_set_option(options);
  options.parse_positional({"job"});
}

void add_set_option(cxxopts::Options& options) {
  options.add_options()  //
      ("set", "change a setting: a.b=value (may be given again)", cxxopts::value<std::string>(), "a.b=v");
}

void add_device_option(cxxopts::Options& options) {
  options.add_options()  //
      ("device", "plan for this device: a name of configs/clusters (h200, cpu, ...), cuda, or a file",
       cxxopts::value<std::string>(), "D");
}

void read_set_options(const cxxopts::ParseResult& parsed, JobOverrides& overrides, Problems& problems) {
  // One --set after the other; cxxopts' own lists would split values at commas.
  for (const auto& option : parsed.arguments()) {
    if (option.key() != "set") continue;
    const size_t equals = option.value().find('=');
    const std::string key = str(".", option.value().substr(0, equals), ".");
    if (equals == std::string::npos || key.find("..") != std::string::npos) {
      problems.add("--set ", shortened(option.value(), 200), ": must be key=value, like sampling.seed=7");
    } else {
      overrides.set.emplace_back(option.value().substr(0, equals), option.value().substr(equals + 1));
    }
  }
}

std::string read_job_options(const cxxopts::ParseResult& parsed, const std::string& command,
                             const std::string& done, JobOverrides& overrides, Problems& problems) {
  for (const auto& word : parsed.unmatched())
    problems.add("'", word, "': one job file is ", done, " at a time");
  read_set_options(parsed, overrides, problems);
  if (parsed.count("job") > 0) return parsed["job"].as<std::string>();
  problems.add("the job file is missing: rushes ", command, " JOB");
  return {};
}

std::optional<Cluster> read_device_option(const cxxopts::ParseResult& parsed, JobOverrides& overrides,
                                          Problems& problems) {
  if (parsed.count("device") == 0) return std::nullopt;
  overrides.device_elsewhere = true;
  try {
    const std::string device = parsed["device"].as<std::string>();
    const Cluster cluster = device == "cpu"    ? local_cluster(DeviceKind::cpu)
                            : device == "cuda" ? local_cluster(DeviceKind::cuda)
                                               : named_cluster(device, "--device");
    overrides.set.emplace_back("device", cluster.device == DeviceKind::cuda ? "cuda" : "cpu");
    return cluster;
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      problems.add(problem);
    return std::nullopt;
  }
}

}  // namespace rushes
