#include "jobs/submission.h"

#include <algorithm>
#include <cctype>

#include "base/env.h"
#include "base/file.h"
#include "base/process.h"
#include "jobs/progress.h"
#include "jobs/sites.h"
#include "jobs/slurm.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::pair<std::string, std::string>>;

constexpr int64_t kToRequeue = 20;  // seconds that putting a job back into the queue may take

std::string where_set(const Job& job, const std::string& key) {
  const auto found = job.sources.find("cluster." + key);
  return found == job.sources.end() ? "cluster" : found->second;
}

/// A value for a line of #SBATCH, which ends at the line's end and at spaces.
std::string plain_value(const Job& job, const char* key, const std::string& value, bool spaces,
                        Problems& problems) {
  const bool wrong = std::any_of(value.begin(), value.end(), [&](unsigned char c) {
    return c < 0x20 || c == 0x7f || c == '"' || c == '\'' || c == '\\' || (c == ' ' && !spaces);
  });
  if (wrong)
    problems.add(where_set(job, key), ": cluster.", key, ": '", one_line(shortened(value, 60)),
                 "' cannot stand in a line of #SBATCH (", spaces ? "" : "spaces, ", "quotes, line breaks)");
  return wrong ? "" : value;
}

std::string batch_name(const Job& job, const SubmissionRequest& request) {
  if (!job.cluster.name.empty()) return job.cluster.name;
  std::string name = request.job_file.stem().string();
  for (char& c : name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
    if (!plain) c = '-';
  }
  return name;
}

/// For --output: sbatch fills in what follows a '%'.
std::string log_pattern(const Job& job, const SubmissionRequest& request, Problems& problems) {
  const std::string logs = (request.folder / job.output / "logs").lexically_normal().string();
  std::string doubled;
  for (const char c : logs) {
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) {
      problems.add("output: ", one_line(logs),
                   ": sbatch cannot log into a folder with quotes or line breaks in its name");
      return "";
    }
    doubled += c == '%' ? "%%" : std::string(1, c);
  }
  return str('"', doubled, job.cluster.array > 1 ? "/%x-%A_%a.out" : "/%x-%j.out", '"');
}

std::string number_or_nothing(int64_t number) {
  return number > 0 ? str(number) : "";
}

/// The words behind `tools/launch --with ...`: the job as it was given here, its {date} filled in, so that a
/// batch that goes on after midnight goes on in its folder.
std::string job_words(const ResolvedJob& job, const SubmissionRequest& request) {
  std::string words = shell_word(request.job_file.string());
  for (const auto& [key, value] : request.set)
    words += " --set " + shell_word(key + "=" + value);
  words += " --set " + shell_word("output=" + job.job.output);
  if (job.options.device.is_cuda()) words += " --set device=cuda";
  return words;
}

std::string environment_lines(const Job& job, const SubmissionRequest& request) {
  const Submission& cluster = job.cluster;
  std::string lines = "export RUSHES_PROGRAM=" + shell_word(request.program.string()) + "\n";
  lines += str("export RUSHES_GRACE=", std::max<int64_t>(5, cluster.warning_seconds - kToRequeue),
               "  # of the warning's ", cluster.warning_seconds, " seconds\n");
  lines += str("export RUSHES_WARNING=", cluster.warning_seconds, "\n");
  if (!cluster.requeue) lines += "export RUSHES_REQUEUE=off\n";
  // srun does not take it from the job's own options since Slurm 22.05. mpirun's own srun, one task a node,
  // would take it for all that a node gives.
  if (cluster.cpus_per_rank > 0 && cluster.launcher != "mpirun")
    lines += str("export SRUN_CPUS_PER_TASK=", cluster.cpus_per_rank, "\n");
  lines.pop_back();
  return lines;
}

fs::path launch_script() {
  const fs::path home = slurm_folder().parent_path();
  std::error_code error;
  const fs::path checkout = home / "tools" / "launch";
  return fs::exists(checkout, error) ? checkout : home / "bin" / "rushes-launch";
}

}  // namespace

int64_t ranks_of(const Submission& cluster) {
  return cluster.nodes * cluster.ranks_per_node.value_or(std::max<int64_t>(1, cluster.gpus_per_node));
}

std::string fill_script(const std::string& template_text, const Words& words) {
  std::string filled;
  for (size_t start = 0; start < template_text.size();) {
    const size_t end = std::min(template_text.find('\n', start), template_text.size());
    const std::string line = template_text.substr(start, end - start);
    start = end + 1;
    std::string text;
    bool empty = false;
    for (size_t at = 0; at < line.size(); ++at) {
      const size_t close = line[at] == '@' ? line.find('@', at + 1) : std::string::npos;
      const std::string name = close == std::string::npos ? "" : line.substr(at + 1, close - at - 1);
      const auto word =
          std::find_if(words.begin(), words.end(), [&](const auto& w) { return w.first == name; });
      if (name.empty() || word == words.end()) {
        text += line[at];
        continue;
      }
      text += word->second;
      empty = empty || word->second.empty();
      at = close;
    }
    if (!(empty && line.starts_with("#SBATCH"))) filled += text + "\n";
  }
  return filled;
}

std::string submission_script(const ResolvedJob& resolved, const SubmissionRequest& request,
                              Problems& problems) {
  const Job& job = resolved.job;
  const Submission& cluster = job.cluster;
  const auto plain = [&](const char* key, const std::string& value, bool spaces = false) {
    return plain_value(job, key, value, spaces, problems);
  };
  std::optional<int64_t> seconds;
  if (!cluster.time.empty() && !read_slurm_time(cluster.time, seconds))
    problems.add(where_set(job, "time"), ": cluster.time: '", one_line(shortened(cluster.time, 40)),
                 "' is no time as Slurm writes it: minutes, 12:00:00, 2-00:00:00");
  if (seconds && *seconds < 2 * cluster.warning_seconds)
    problems.add(where_set(job, "time"), ": cluster.time: ", cluster.time, " is too short for a warning of ",
                 cluster.warning_seconds, " seconds (cluster.warning_seconds)");
  if (!cluster.memory.empty() && !read_slurm_memory(cluster.memory))
    problems.add(where_set(job, "memory"), ": cluster.memory: '", one_line(shortened(cluster.memory, 40)),
                 "' is no size as Slurm writes it: 64G, 512M, 0 for all of the node");
  const std::string output = (request.folder / job.output).lexically_normal().string();
  const Words words = {
      {"name", plain("name", batch_name(job, request))},
      {"log", log_pattern(job, request, problems)},
      {"partition", plain("partition", cluster.partition)},
      {"account", plain("account", cluster.account)},
      {"qos", plain("qos", cluster.qos)},
      {"nodes", str(cluster.nodes)},
      {"ranks_per_node", str(ranks_of(cluster) / cluster.nodes)},
      {"gpus_per_node", number_or_nothing(cluster.gpus_per_node)},
      {"cpus_per_rank", number_or_nothing(cluster.cpus_per_rank)},
      {"memory", plain("memory", cluster.memory)},
      {"time", plain("time", cluster.time)},
      {"array", cluster.array > 1 ? str("0-", cluster.array - 1) : ""},
      {"after", plain("after", cluster.after)},
      {"kill_orphan", cluster.after.empty() ? "" : "yes"},
      {"warning_seconds", str(cluster.warning_seconds)},
      {"requeue", cluster.requeue ? "--requeue" : "--no-requeue"},
      {"options", plain("options", cluster.options, /*spaces=*/true)},
      {"folder", shell_word(request.folder.string())},
      {"setup", cluster.setup},
      {"environment", environment_lines(job, request)},
      {"attend", shell_word((slurm_folder() / "attend").string())},
      {"output", shell_word(output)},
      {"launch", shell_word(launch_script().string())},
      {"launcher", cluster.launcher},
      {"job", job_words(resolved, request)},
  };
  return fill_script(read_file(slurm_folder() / "job.sbatch"), words);
}

fs::path write_script(const ResolvedJob& job, const std::string& script) {
  const fs::path root = job.job.output;
  std::error_code error;
  for (const char* folder : {"logs", "slurm"}) {
    fs::create_directories(root / folder, error);
    if (error) fail("output: cannot make ", (root / folder).string(), ": ", error.message());
  }
  const fs::path path = root / "slurm" / "job.sbatch";
  write_file_atomic(path, script, "submit");
  return path;
}

std::string nightly_lines(const ResolvedJob& job, const SubmissionRequest& request, const std::string& time) {
  std::string words = shell_word(request.job_file.string());
  for (const auto& [key, value] : request.set)
    words += " --set " + shell_word(key + "=" + value);
  // A night that is not through holds the next one up, instead of running beside it.
  if (job.job.cluster.after.empty()) words += " --set cluster.after=singleton";
  std::string around;  // cron knows nothing of a login shell's settings
  for (const EnvRow& row : env_table()) {
    if (row.for_cron && !env(row.variable).empty())
      around += str(row.name, "=", shell_word(env(row.variable)), " ");
  }
  const std::string command = str("cd ", shell_word(request.folder.string()), " && ", around,
                                  shell_word(request.program.string()), " submit ", words);
  if (command.find('\n') != std::string::npos)
    fail("--nightly: a value with a line break cannot stand in a crontab; put it into the job file");
  std::string escaped;  // a '%' is a line break to cron
  for (const char c : command)
    escaped += c == '%' ? "\\%" : std::string(1, c);
  const int64_t hour = std::stoll(time.substr(0, 2)), minute = std::stoll(time.substr(3));
  const std::string when = str(minute, " ", hour, " * * *");
  const std::string name = batch_name(job.job, request);
  return str("# crontab -e, on a machine that may submit:\n", when, " ", escaped,
             "\n\n# or scrontab -e, where Slurm has it:\n#SCRON --job-name=submit-", name,
             "\n#SCRON --time=00:10:00\n#SCRON --ntasks=1\n#SCRON --output=",
             (request.folder / str("submit-", name, ".log")).string(), "\n#SCRON --open-mode=append\n", when,
             " ", escaped, "\n");
}

std::vector<std::string> submission_summary(const ResolvedJob& resolved, const PlanAnswer* plan) {
  const Job& job = resolved.job;
  const Submission& cluster = job.cluster;
  const int64_t ranks = ranks_of(cluster);
  std::vector<std::string> lines;
  lines.push_back(str(resolved.items.size(), " items into ", job.output, ": ",
                      cluster.array > 1 ? str("an array of ", cluster.array, " jobs, each of ") : "",
                      cluster.nodes, cluster.nodes == 1 ? " node" : " nodes", " with ", ranks, " ",
                      cluster.gpus_per_node > 0 ? "GPU " : "", ranks == 1 ? "rank" : "ranks", " by ",
                      cluster.launcher));
  std::optional<int64_t> limit;
  read_slurm_time(cluster.time, limit);
  const std::string limited = limit ? "the time limit is " + short_time(static_cast<double>(*limit)) : "";
  if (plan == nullptr || plan->best.empty()) {
    if (limit) lines.push_back(limited);
    return lines;
  }
  const Candidate& best = plan->best[0];
  // Without PMI each rank is a world of its own, and the plan is of one.
  const int64_t worlds = cluster.array * (cluster.launcher == "srun:none" ? ranks : 1);
  const double seconds = best.job_seconds / static_cast<double>(worlds);
  lines.push_back(str("layout ", best.plan.text(), "; predicted: a clip in ", short_time(best.clip_seconds),
                      ", all in ", short_time(seconds), limit ? "; " : "", limited));
  if (limit && seconds > static_cast<double>(*limit)) {
    const auto lives = static_cast<int64_t>(seconds / static_cast<double>(*limit)) + 1;
    lines.push_back(
        cluster.requeue
            ? str("the job will go back into the queue about ", lives - 1, " times")
            : "the job will not be through (cluster.requeue is off): submit it again to continue");
  }
  return lines;
}

}  // namespace rushes
