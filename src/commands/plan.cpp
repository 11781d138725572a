#include <cxxopts.hpp>
#include <iomanip>
#include <iostream>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "commands/plan_command.h"
#include "config/value.h"
#include "dist/parallel_plan.h"
#include "dist/world.h"
#include "jobs/job.h"

namespace rushes {
namespace {

struct PlanRequest {
  std::string job;
  int64_t ranks = 1;
  JobOverrides overrides;
  std::string device;  // as given; "" where it was not
};

cxxopts::Options plan_options() {
  cxxopts::Options options("rushes plan", "Shows what a job would do; loads no weights and writes nothing.");
  options.positional_help("JOB");
  options.add_options()                                                                                    //
      ("job", "job file", cxxopts::value<std::string>(), "JOB")                                            //
      ("ranks", "ranks to lay out", cxxopts::value<int64_t>()->default_value("1"), "N")                    //
      ("device", "plan for this device: cpu, cuda, or a GPU by name (h200, h100, a100, l40s)",             //
       cxxopts::value<std::string>(), "D")                                                                 //
      ("set", "change a setting: a.b=value (may be given again)", cxxopts::value<std::string>(), "a.b=v")  //
      ("help", "show this");
  options.parse_positional({"job"});
  return options;
}

/// "cuda" for a GPU's name.
std::string device_kind(const std::string& name) {
  static const std::map<std::string, std::string> kinds = {{"cpu", "cpu"},   {"cuda", "cuda"},
                                                           {"h200", "cuda"}, {"h100", "cuda"},
                                                           {"a100", "cuda"}, {"l40s", "cuda"}};
  const auto found = kinds.find(name);
  return found == kinds.end() ? std::string() : found->second;
}

PlanRequest read_request(const cxxopts::ParseResult& parsed) {
  Problems problems;
  PlanRequest request;
  for (const auto& word : parsed.unmatched())
    problems.add("'", word, "': one job file is planned at a time");
  if (parsed.count("job") == 0) {
    problems.add("the job file is missing: rushes plan JOB");
  } else {
    request.job = parsed["job"].as<std::string>();
  }
  request.ranks = parsed["ranks"].as<int64_t>();
  request.overrides.ranks = request.ranks;
  if (request.ranks < 1 || request.ranks > (1 << 20))
    problems.add("--ranks must be a number from 1 to 1048576; found ", request.ranks);
  // One --set after the other; cxxopts' own lists would split values at commas.
  for (const auto& option : parsed.arguments()) {
    if (option.key() != "set") continue;
    const size_t equals = option.value().find('=');
    if (equals == std::string::npos || equals == 0) {
      problems.add("--set ", option.value(), ": must be key=value, like sampling.seed=7");
    } else {
      request.overrides.set.emplace_back(option.value().substr(0, equals), option.value().substr(equals + 1));
    }
  }
  if (parsed.count("device") > 0) {
    request.device = parsed["device"].as<std::string>();
    const std::string kind = device_kind(request.device);
    const std::vector<std::string> known = {"cpu", "cuda", "h200", "h100", "a100", "l40s"};
    if (kind.empty())
      problems.add("--device ", request.device, ": must be one of ", join(known, ", "),
                   did_you_mean(request.device, known));
    request.overrides.set.emplace_back("device", kind);
    request.overrides.device_elsewhere = true;
  }
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

/// Items of one shape cost the same.
struct Shape {
  Sampling sampling;
  size_t items = 0;
};

std::vector<Shape> shapes_of(const std::vector<Item>& items) {
  std::map<std::string, size_t> index;
  std::vector<Shape> shapes;
  for (const Item& item : items) {
    const Sampling& s = item.sampling;
    const std::string key = str(s.height, "x", s.width, "x", s.num_frames, " ", s.num_inference_steps, " ",
                                s.guidance_scale > 1, " ", s.max_sequence_length);
    const auto [found, is_new] = index.emplace(key, shapes.size());
    if (is_new) shapes.push_back({s, 0});
    ++shapes[found->second].items;
  }
  return shapes;
}

void print_work(const ResolvedJob& job, std::ostream& out) {
  double all = 0;
  for (const Shape& shape : shapes_of(job.items)) {
    const Sampling& s = shape.sampling;
    const ItemCost cost = job.blueprint->cost(s, job.options);
    all += cost.flops * static_cast<double>(shape.items);
    out << "\nOne clip of " << s.width << "x" << s.height << ", "
        << counted(static_cast<size_t>(s.num_frames), "frame") << ", "
        << counted(static_cast<size_t>(s.num_inference_steps), "step")
        << (s.guidance_scale > 1 ? " with guidance" : " without guidance") << " ("
        << counted(shape.items, "clip") << ")\n";
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

void print_plan(const PlanRequest& request, const ResolvedJob& job, std::ostream& out) {
  const ParallelPlan layout = ParallelPlan::make(job.job.parallel, request.ranks);
  out << request.job << ": " << counted(job.items.size(), "clip") << " by " << job.blueprint->pipeline_class()
      << " into " << job.job.output << "\n\n";
  print_settings(job, request.device, out);
  out << "\nLayout\n  " << layout.text() << "\n";
  if (layout.idle() > 0) out << "  " << layout.idle() << " of them idle\n";
  print_work(job, out);
  for (const std::string& warning : job.warnings)
    out << "warning: " << warning << "\n";
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
    print_plan(request, load_job(request.job, request.overrides), std::cout);
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
