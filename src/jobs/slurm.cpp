#include "jobs/slurm.h"

#include <algorithm>
#include <charconv>
#include <functional>

#include "base/env.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/process.h"
#include "base/str.h"

namespace rushes {
namespace {

constexpr int64_t kMost = 1'000'000'000;  // of anything; sums of them stay whole numbers
constexpr int64_t kMinute = 60, kHour = 3600, kDay = 86400;

std::vector<std::string> split(const std::string& text, char mark) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(mark, start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

/// The digits that a text begins with ("4+", "515000"); nothing where it begins with none.
std::optional<int64_t> leading_number(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return {};
  return std::min(value, kMost);
}

std::optional<int64_t> whole(const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return digits && text.size() < 10 ? leading_number(text) : std::nullopt;
}

/// "gpu:h100:4(S:0-1),gpu:2,tmp:100" has six.
int64_t gpus_of(const std::string& gres) {
  int64_t gpus = 0;
  std::string bare;
  int depth = 0;
  for (const char c : gres) {
    depth += c == '(' ? 1 : 0;
    if (depth == 0) bare += c;
    depth -= c == ')' ? 1 : 0;
  }
  for (const std::string& one : split(bare, ',')) {
    const std::vector<std::string> parts = split(one, ':');
    if (parts[0] != "gpu") continue;
    gpus += parts.size() == 1 ? 1 : leading_number(parts.back()).value_or(1);
  }
  return gpus;
}

/// Variables (SBATCH_...) that sbatch lets win over a script's own lines, by the options of those lines.
constexpr std::pair<const char*, const char*> kStronger[] = {
    {"--account", "ACCOUNT"},
    {"-A", "ACCOUNT"},
    {"--array", "ARRAY_INX"},
    {"-a", "ARRAY_INX"},
    {"--constraint", "CONSTRAINT"},
    {"-C", "CONSTRAINT"},
    {"--exclusive", "EXCLUSIVE"},
    {"--gpus-per-node", "GPUS_PER_NODE"},
    {"--gres", "GRES"},
    {"--job-name", "JOB_NAME"},
    {"--mem", "MEM_PER_NODE"},
    {"--no-requeue", "REQUEUE"},
    {"--open-mode", "OPEN_MODE"},
    {"--output", "OUTPUT"},
    {"--partition", "PARTITION"},
    {"-p", "PARTITION"},
    {"--qos", "QOS"},
    {"-q", "QOS"},
    {"--requeue", "NO_REQUEUE"},
    {"--reservation", "RESERVATION"},
    {"--signal", "SIGNAL"},
    {"--time", "TIMELIMIT"},
    {"-t", "TIMELIMIT"},
};

/// sbatch without the variables that the script's own lines speak of; inside a job without that job's own,
/// which the new one would inherit (SLURM_ARRAY_TASK_ID, SLURM_MEM_PER_CPU, ...).
std::vector<std::string> sbatch_words(const std::string& script) {
  std::vector<std::string> words = {"env"};
  if (!env(EnvVar::slurm_job_id).empty()) {
    for (const std::string& name : environment_names("SLURM_")) {
      const bool kept = name == "SLURM_CONF" || name == "SLURM_CLUSTERS" || name == "SLURM_TIME_FORMAT" ||
                        name == "SLURM_JWT";
      if (!kept) words.insert(words.end(), {"-u", name});
    }
  }
  for (const std::string& line : split(script, '\n')) {
    if (!line.starts_with("#SBATCH ")) continue;
    for (const std::string& word : split(line, ' ')) {
      const std::string option = word.substr(0, word.find('='));
      for (const auto& [known, variable] : kStronger) {
        if (option == known) words.insert(words.end(), {"-u", str("SBATCH_", variable)});
      }
    }
  }
  words.emplace_back("sbatch");
  return words;
}

}  // namespace

bool read_slurm_time(const std::string& text, std::optional<int64_t>& seconds) {
  seconds.reset();
  if (text == "infinite" || text == "UNLIMITED" || text == "INFINITE") return true;
  const size_t dash = text.find('-');
  const bool days = dash != std::string::npos;
  std::vector<int64_t> numbers;
  for (const std::string& part : split(days ? text.substr(dash + 1) : text, ':')) {
    const auto number = whole(part);
    if (!number || numbers.size() == 3) return false;
    numbers.push_back(*number);
  }
  // days-hours[:minutes[:seconds]], or minutes, minutes:seconds, hours:minutes:seconds
  int64_t all = 0;
  if (days) {
    const auto whole_days = whole(text.substr(0, dash));
    if (!whole_days) return false;
    numbers.resize(3);
    all = *whole_days * kDay + numbers[0] * kHour + numbers[1] * kMinute + numbers[2];
  } else if (numbers.size() == 3) {
    all = numbers[0] * kHour + numbers[1] * kMinute + numbers[2];
  } else {
    numbers.resize(2);
    all = numbers[0] * kMinute + numbers[1];
  }
  seconds = all;
  return all > 0;
}

std::optional<int64_t> read_slurm_memory(const std::string& text) {
  const std::string units = "KMGT";
  const size_t unit = text.empty() ? std::string::npos : units.find(text.back());
  const auto number = whole(unit == std::string::npos ? text : text.substr(0, text.size() - 1));
  if (!number) return {};
  int64_t mib = *number;
  if (unit == 0) mib /= 1024;
  for (size_t i = 1; unit != std::string::npos && i < unit; ++i)
    mib *= 1024;
  return mib;
}

std::vector<SlurmPartition> read_partitions(const std::string& text) {
  std::vector<SlurmPartition> partitions;
  for (const std::string& line : split(text, '\n')) {
    const std::vector<std::string> cells = split(line, '|');
    if (cells.size() < 7) continue;
    SlurmPartition row;
    row.name = cells[0];
    if (row.name.ends_with('*')) {
      row.is_default = true;
      row.name.pop_back();
    }
    row.up = cells[1] == "up";
    read_slurm_time(cells[2], row.most_seconds);
    row.nodes = leading_number(cells[3]).value_or(0);
    row.cpus = leading_number(cells[4]).value_or(0);
    row.memory = leading_number(cells[5]).value_or(0);
    row.gpus = gpus_of(cells[6]);
    const auto known = std::find_if(partitions.begin(), partitions.end(),
                                    [&](const SlurmPartition& p) { return p.name == row.name; });
    if (known == partitions.end()) {
      partitions.push_back(row);
      continue;
    }
    known->nodes += row.nodes;
    known->cpus = std::max(known->cpus, row.cpus);
    known->memory = std::max(known->memory, row.memory);
    known->gpus = std::max(known->gpus, row.gpus);
  }
  return partitions;
}

std::vector<SlurmPartition> slurm_partitions() {
  if (find_program("sbatch").empty())
    fail(
        "no Slurm here: sbatch is not in PATH. --print shows the script; tools/run runs the job on this "
        "machine; ",
        "slurm/testbed starts a small Slurm to try things with");
  const Ended asked = run_program({"sinfo", "-a", "-e", "-h", "-o", "%P|%a|%l|%D|%c|%m|%G"});
  if (asked.code != 0)
    fail("Slurm does not answer: sinfo ended with ", asked.code, ": ", one_line(asked.err),
         " (is SLURM_CONF set, does slurmctld run?)");
  return read_partitions(asked.out);
}

void check_submission(const Submission& wanted, const std::vector<SlurmPartition>& partitions,
                      const std::function<std::string(const std::string&)>& where, Problems& problems) {
  const SlurmPartition* chosen = nullptr;
  for (const SlurmPartition& partition : partitions) {
    if (wanted.partition.empty() ? partition.is_default : partition.name == wanted.partition)
      chosen = &partition;
  }
  if (chosen == nullptr) {
    std::vector<std::string> names;
    for (const SlurmPartition& partition : partitions)
      names.push_back(partition.name);
    // No default one, and a list of partitions ("a,b"): for Slurm to judge.
    if (!wanted.partition.empty() && wanted.partition.find(',') == std::string::npos)
      problems.add(where("partition"), ": cluster.partition: Slurm has no partition '", wanted.partition,
                   "'; there are ", join(names, ", "), did_you_mean(wanted.partition, names));
    return;
  }
  const auto most = [&](const char* key, int64_t asked, int64_t has, const char* what) {
    if (asked > has)
      problems.add(where(key), ": cluster.", key, ": ", asked, " asked for, but partition ", chosen->name,
                   " has ", has == 0 ? "no" : str("at most ", has), what);
  };
  most("nodes", wanted.nodes, chosen->nodes, " nodes");
  most("gpus_per_node", wanted.gpus_per_node, chosen->gpus, " GPUs on a node");
  const int64_t ranks = wanted.ranks_per_node.value_or(std::max<int64_t>(1, wanted.gpus_per_node));
  most(wanted.cpus_per_rank > 0 ? "cpus_per_rank" : "ranks_per_node",
       ranks * std::max<int64_t>(1, wanted.cpus_per_rank), chosen->cpus, " CPUs on a node");
  most("memory", read_slurm_memory(wanted.memory).value_or(0), chosen->memory, " MiB on a node");
  std::optional<int64_t> seconds;
  read_slurm_time(wanted.time, seconds);
  if (seconds && chosen->most_seconds) most("time", *seconds, *chosen->most_seconds, " seconds for a job");
  if (!chosen->up)
    problems.add(where("partition"), ": cluster.partition: ", chosen->name,
                 " takes no jobs now (it is not up)");
}

std::string submit_script(const std::filesystem::path& script) {
  std::vector<std::string> words = sbatch_words(read_file(script));
  words.insert(words.end(), {"--parsable", script.string()});
  const Ended ended = run_program(words);
  if (ended.code != 0) fail("sbatch refused ", script.string(), ": ", one_line(ended.err));
  return ended.out.substr(0, ended.out.find_first_of(";\n"));
}

}  // namespace rushes
