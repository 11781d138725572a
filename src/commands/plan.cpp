#include <cxxopts.hpp>
#include <iomanip>
#include <iostream>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "commands/commands.h"
#include "commands/job_options.h"
#include "commands/plan_command.h"
#include "config/value.h"
#include "dist/world.h"
#include "jobs/output_check.h"
#include "planner/report.h"

namespace rushes {
namespace {

struct PlanRequest {
  std::string job;
  int64_t ranks = 1;
  bool fresh = false;  // files of no run in the output folder may be replaced
  JobOverrides overrides;
  std::string device;              // as given; "" where it was not
  std::optional<Cluster> cluster;  // what it names
};

cxxopts::Options plan_options() {
  cxxopts::Options options("rushes plan", "Shows what a job would do; loads no weights and writes nothing.");
  add_job_options(options);
  options.add_options()                                                                      //
      ("ranks", "ranks to lay out", cxxopts::value<std::string>()->default_value("1"), "N")  //
      ("fresh", "as for run --fresh: files of no run in the output folder may be replaced");
  add_device_option(options);
  options.add_options()("help", "show this");
  return options;
}

PlanRequest read_request(const cxxopts::ParseResult& parsed) {
  Problems problems;
  PlanRequest request;
  request.job = read_job_options(parsed, "plan", "planned", request.overrides, problems);
  request.ranks = whole_number(parsed["ranks"].as<std::string>(), "ranks", problems).value_or(1);
  request.overrides.ranks = request.ranks;
  request.overrides.any_layout = true;
  request.fresh = parsed.count("fresh") > 0;
  if (request.ranks < 1 || request.ranks > (1 << 20))
    problems.add("--ranks must be a number from 1 to 1048576; found ", request.ranks);
  if (parsed.count("device") > 0) request.device = parsed["device"].as<std::string>();
  request.cluster = read_device_option(parsed, request.overrides, problems);
  problems.throw_if_any();
  return request;
}

/// 2.5e12 -> "2.50 T".
std::string with_prefix(double value) {
  const char* prefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
  size_t index = 0;
  while (value >= 1000 && index + 1 < std::size(prefixes)) {
    value /= 1000;
    ++index;
  }
  std::ostringstream out;
  out << std::fixed
      << std::setprecision(value >= 100  ? 0
                           : value >= 10 ? 1
                                         : 2)
      << value << " " << prefixes[index];
  return out.str();
}

std::string counted(size_t count, const std::string& one) {
  return str(count, " ", one, count == 1 ? "" : "s");
}

/// Rows of cells, each column as wide as its widest cell (up to 60) and two spaces apart.
void print_table(const std::vector<std::vector<std::string>>& rows, std::ostream& out) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], std::min<size_t>(row[i].size(), 60));
  }
  for (const auto& row : rows) {
    std::string line = "  ";
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size())
        line += std::string(widths[i] > row[i].size() ? widths[i] - row[i].size() : 0, ' ') + "  ";
    }
    out << line << "\n";
  }
}

void print_settings(const ResolvedJob& job, const std::string& device, std::ostream& out) {
  out << "Settings\n";
  std::vector<std::vector<std::string>> rows;
  for (const SettingRow& row : job.job.settings) {
    const bool by_option = row.key == "device" && !device.empty();
    rows.push_back({row.key, shortened(row.value, 57), by_option ? "--device " + device : row.source});
  }
  print_table(rows, out);
}

void print_work(const ResolvedJob& job, std::ostream& out) {
  double all = 0;
  for (const ClipGroup& group : clip_groups(job.items)) {
    const Sampling& s = group.sampling;
    const ItemCost cost = job.blueprint->cost(s, job.options);
    all += cost.flops * static_cast<double>(group.count);
    out << "\nOne clip of " << s.width << "x" << s.height << ", "
        << counted(static_cast<size_t>(s.num_frames), "frame");
    if (!job.options.encodes)
      out << ", " << counted(static_cast<size_t>(s.num_inference_steps), "step")
          << (s.guidance_scale > 1 ? " with guidance" : " without guidance");
    out << " (" << counted(static_cast<size_t>(group.count), "clip") << ")\n";
    std::vector<std::vector<std::string>> rows;
    for (const auto& [stage, flops] : cost.stage_flops)
      rows.push_back({stage, with_prefix(flops) + "FLOP"});
    rows.push_back({"in all", with_prefix(cost.flops) + "FLOP"});
    rows.push_back({"weights", with_prefix(cost.weight_bytes) + "B"});
    rows.push_back({"activations", "up to " + with_prefix(cost.activation_bytes) + "B"});
    print_table(rows, out);
  }
  out << "\nThe job: " << counted(job.items.size(), "clip") << ", " << with_prefix(all) << "FLOP\n";
}

void print_prediction(const PlanAnswer& answer, const Cluster& cluster, std::ostream& out) {
  out << "\nPrediction for " << cluster.name << " (" << cluster.source << "), "
      << counted(static_cast<size_t>(answer.considered), "layout") << " compared\n";
  if (!answer.best.empty()) {
    print_table(candidate_rows(answer), out);
    out << "  a clip on the chosen layout: " << stage_times(answer.best[0]) << "\n";
  }
  for (const std::string& line : reason_lines(answer))
    out << "  " << line << "\n";
}

void print_plan(const PlanRequest& request, const ResolvedJob& job, std::ostream& out) {
  const bool cuda = job.options.device.is_cuda();
  const Cluster cluster =
      request.cluster ? *request.cluster : local_cluster(cuda ? DeviceKind::cuda : DeviceKind::cpu);
  const PlanAnswer answer = choose_plan({.blueprint = *job.blueprint,
                                         .options = job.options,
                                         .clips = clip_groups(job.items),
                                         .world = request.ranks,
                                         .parallel = job.job.parallel,
                                         .cluster = cluster});
  out << request.job << ": " << counted(job.items.size(), "clip") << " by " << job.blueprint->pipeline_class()
      << " into " << job.job.output << "\n\n";
  print_settings(job, request.device, out);
  if (!answer.best.empty()) {
    const ParallelPlan& layout = answer.best[0].plan;
    out << "\nLayout\n  " << layout.text() << "\n";
    if (layout.idle() > 0) out << "  " << layout.idle() << " of them idle\n";
  }
  print_work(job, out);
  print_prediction(answer, cluster, out);
  for (const std::string& warning : job.warnings)
    out << "warning: " << warning << "\n";
  Problems problems;
  // Another device's machine may have other disks.
  if (!request.cluster) check_output(job, request.fresh, problems);
  if (answer.best.empty()) problems.add(answer.why);
  problems.throw_if_any();
}

}  // namespace

int plan_command(int argc, char** argv) {
  cxxopts::Options options = plan_options();
  try {
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return kExitDone;
    }
    const PlanRequest request = read_request(parsed);
    std::ostringstream text;  // of names that may hold anything
    const auto show = [&] { std::cout << without_controls(text.str()) << std::flush; };
    try {
      print_plan(request, load_job(request.job, request.overrides), text);
    } catch (...) {
      show();  // what was found out before
      throw;
    }
    show();
    return kExitDone;
  } catch (const cxxopts::exceptions::exception& error) {
    log_error("rushes plan: ", error.what(), " (rushes plan --help lists the options)");
    return kExitUsage;
  } catch (const UserError& error) {
    for (const auto& problem : error.problems())
      log_error(problem);
    return kExitUsage;
  } catch (const std::exception& error) {
    log_error("rushes plan: internal error, please report it: ", error.what());
    return kExitBug;
  }
}

}  // namespace rushes
