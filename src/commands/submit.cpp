#include <cxxopts.hpp>
#include <filesystem>
#include <iostream>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "commands/commands.h"
#include "commands/job_options.h"
#include "commands/submit_command.h"
#include "dist/world.h"
#include "jobs/output_check.h"
#include "jobs/slurm.h"
#include "jobs/submission.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

cxxopts::Options submit_options() {
  cxxopts::Options options("rushes submit",
                           "Submits a job to Slurm: as a script made from slurm/job.sbatch.");
  add_job_options(options);
  options.add_options()                                                                    //
      ("print", "show the script; submit and write nothing")                               //
      ("nightly", "show the lines for cron and scrontab that submit the job every night",  //
       cxxopts::value<std::string>()->implicit_value("02:00"), "HH:MM")                    //
      ("parsable", "print nothing but the batch job's id");
  add_device_option(options);
  options.add_options()("help", "show this");
  return options;
}

bool is_time_of_day(const std::string& text) {
  const auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  if (text.size() != 5 || text[2] != ':' || !digit(0) || !digit(1) || !digit(3) || !digit(4)) return false;
  return text.substr(0, 2) < "24" && text.substr(3) < "60";
}

/// The figures to predict by; nothing where nobody knows the nodes' devices.
std::optional<Cluster> nodes_of(const ResolvedJob& job, const std::optional<Cluster>& asked) {
  if (asked) return asked;
  if (!job.job.cluster.device.empty()) {
    const auto source = job.job.sources.find("cluster.device");
    return named_cluster(job.job.cluster.device,
                         str(source == job.job.sources.end() ? "" : source->second + ": ", "cluster.device"));
  }
  try {
    return local_cluster(job.options.device.is_cuda() ? DeviceKind::cuda : DeviceKind::cpu);
  } catch (const UserError&) {
    log_info("no prediction, since the nodes' GPUs are not known: cluster.device (or --device) names them");
    return {};
  }
}

/// Tells on stderr what is coming. Throws UserError where nothing fits.
void show_plan(const ResolvedJob& job, const std::optional<Cluster>& asked) {
  const int64_t world = job.job.cluster.launcher == "srun:none" ? 1 : ranks_of(job.job.cluster);
  std::optional<PlanAnswer> answer;
  if (const auto cluster = nodes_of(job, asked)) {
    answer = choose_plan({.blueprint = *job.blueprint,
                          .options = job.options,
                          .clips = clip_groups(job.items),
                          .world = world,
                          .parallel = job.job.parallel,
                          .cluster = *cluster});
    const bool theirs = asked || !job.job.cluster.device.empty();
    if (answer->best.empty() && theirs) fail(answer->why);
    if (answer->best.empty())
      log_warning(answer->why, " (by this machine's figures; cluster.device, or --device, names the nodes')");
  }
  for (const std::string& line : submission_summary(job, answer ? &*answer : nullptr))
    log_info(line);
}

int submit(const cxxopts::ParseResult& parsed) {
  Problems problems;
  JobOverrides overrides;
  overrides.submission = true;
  overrides.any_layout = true;
  SubmissionRequest request;
  request.job_file = read_job_options(parsed, "submit", "submitted", overrides, problems);
  request.set = overrides.set;
  std::error_code error;
  request.folder = fs::current_path(error);
  request.program = fs::read_symlink("/proc/self/exe", error);
  const auto device = read_device_option(parsed, overrides, problems);
  const bool show_nightly = parsed.count("nightly") > 0;
  const std::string nightly = show_nightly ? parsed["nightly"].as<std::string>() : "";
  if (show_nightly && !is_time_of_day(nightly))
    problems.add("--nightly '", nightly, "': must be a time of day like 02:00 (--nightly=02:00)");
  problems.throw_if_any();

  const ResolvedJob job = load_job(request.job_file, overrides);
  const std::string script = submission_script(job, request, problems);
  problems.throw_if_any();
  show_plan(job, device);
  if (show_nightly) {
    std::cout << nightly_lines(job, request, nightly);
    return kExitDone;
  }
  if (parsed.count("print") > 0) {
    std::cout << script;
    return kExitDone;
  }
  const auto where = [&](const std::string& key) {
    const auto found = job.job.sources.find("cluster." + key);
    return found == job.job.sources.end() ? request.job_file.string() : found->second;
  };
  check_submission(job.job.cluster, slurm_partitions(), where, problems);
  check_output(job, /*fresh=*/false, problems);
  problems.throw_if_any();
  const fs::path path = write_script(job, script);
  const std::string id = submit_script(path);
  std::cout << (parsed.count("parsable") > 0 ? "" : "Submitted batch job ") << id << std::endl;
  if (parsed.count("parsable") == 0)
    log_info("build/rushes status ", shell_word(job.job.output), " --watch shows how far it is");
  write_file_atomic(path.parent_path() / "submitted", id, "submit");  // for `rushes status`
  return kExitDone;
}

}  // namespace

int submit_command(int argc, char** argv) {
  return answer_errors("submit", [&] {
    cxxopts::Options options = submit_options();
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    return submit(parsed);
  });
}

}  // namespace rushes
