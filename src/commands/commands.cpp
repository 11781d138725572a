#include "commands/commands.h"

#include <charconv>
#include <cxxopts.hpp>
#include <iostream>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/version.h"
#include "commands/bench_command.h"
#include "commands/bless_command.h"
#include "commands/compare_command.h"
#include "commands/dataset_command.h"
#include "commands/doctor_command.h"
#include "commands/plan_command.h"
#include "commands/probe_command.h"
#include "commands/run_command.h"
#include "commands/status_command.h"
#include "commands/submit_command.h"
#include "commands/weights_command.h"
#include "device/torch_error.h"
#include "dist/world.h"

namespace rushes {
namespace {

struct Command {
  const char* name;
  const char* usage;
  const char* meaning;
  int (*run)(int argc, char** argv);
};

const std::vector<Command>& commands() {
  static const std::vector<Command> list = {
      {"run", "run JOB [--set a.b=v]... [--fresh] [--retry-failed] [--verify] | --simulate N",
       "makes a job's clips, or those that are left of it", run_command},
      {"plan", "plan JOB [--ranks N] [--device D] [--fresh]",
       "shows settings, layout and work; loads no weights", plan_command},
      {"submit", "submit JOB [--print] [--nightly[=HH:MM]]", "submits a job to Slurm", submit_command},
      {"status", "status OUTPUT [--watch]", "shows how far the runs over an output folder are",
       status_command},
      {"compare", "compare OUTPUT --references DIR [--min-ssim X]", "compares clips with their references",
       compare_command},
      {"bless", "bless OUTPUT --references DIR", "makes clips the references", bless_command},
      {"dataset", "dataset info OUTPUT [--verify] | export OUTPUT --to DIR | build FOLDER --model M --to OUT",
       "shows the data set in an output folder, writes it as WebDataset tars, or makes one of real videos",
       dataset_command},
      {"probe", "probe --model DIR --component NAME ...", "runs one component on given tensors",
       probe_command},
      {"bench", "bench --model DIR --component NAME ...", "times one component", bench_command},
      {"weights", "weights pull|verify ORG/NAME[@REVISION] | list",
       "fetches models from the Hugging Face Hub, checks what was fetched, lists it", weights_command},
      {"doctor", "doctor", "shows what this machine offers", doctor_command},
  };
  return list;
}

void print_help(std::ostream& out) {
  out << "rushes " << version_text() << ": batches of video diffusion\n\n";
  for (const Command& command : commands()) {
    out << "  rushes " << command.usage << "\n      " << command.meaning << "\n";
  }
  out << "\n  rushes COMMAND --help lists a command's options. Several ranks: mpirun -n N rushes run JOB.\n\n"
      << "Exit codes: 0 all done; 1 a bug; 2 wrong input, nothing was started; 3 done, but a regression\n"
         "check fell short; 4 some items failed, the rest "
         "is done;\n"
      << "75 stopped early: run the same command again.\n";
}

LogLevel log_level() {
  const std::string name = env(EnvVar::log_level);
  const std::vector<std::string> names = {"debug", "info", "warning", "error"};
  if (name.empty()) return LogLevel::info;
  for (size_t i = 0; i < names.size(); ++i) {
    if (name == names[i]) return static_cast<LogLevel>(i);
  }
  fail("RUSHES_LOG is '", name, "'; it can be ", join(names, ", "), did_you_mean(name, names));
}

}  // namespace

int answer_errors(const char* command, const std::function<int()>& body) {
  try {
    return body();
  } catch (const cxxopts::exceptions::exception& error) {
    log_error("rushes ", command, ": ", error.what(), " (rushes ", command, " --help lists the options)");
    return kExitUsage;
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      log_error(problem);
    return kExitUsage;
  } catch (const std::exception& error) {
    log_error("internal error (a bug, please report it): ", message_of(error));
    return kExitBug;
  }
}

std::optional<int64_t> whole_number(const std::string& text, const char* option, Problems& problems) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  problems.add("--", option, " ", text, ": needs a whole number");
  return {};
}

std::optional<double> ssim_option(const std::string& text, Problems& problems) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= 0 && value <= 1) return value;
  problems.add("--min-ssim ", text, ": needs a number from 0 to 1");
  return {};
}

std::optional<Dtype> dtype_option(const std::string& text, Problems& problems) {
  const std::optional<Dtype> dtype = dtype_from_name(text);
  if (!dtype) problems.add("--dtype '", text, "' is none of float32, bfloat16, float16");
  return dtype;
}

void refuse_words(const std::vector<std::string>& words, const char* command) {
  Problems problems;
  for (const std::string& word : words)
    problems.add("'", word, "': rushes ", command, " has no use for it (rushes ", command, " --help)");
  problems.throw_if_any();
}

int rushes_main(int argc, char** argv) {
  return answer_errors("--help", [&] {
    log_setup(0, 1, log_level());
    const std::string name = argc > 1 ? argv[1] : "";
    if (name == "--help" || name == "-h" || name == "help") {
      print_help(std::cout);
      return static_cast<int>(kExitDone);
    }
    if (name == "--version") {
      std::cout << "rushes " << version_text() << "\n";
      return static_cast<int>(kExitDone);
    }
    std::vector<std::string> names;
    for (const Command& command : commands()) {
      if (name == command.name) return command.run(argc - 1, argv + 1);
      names.push_back(command.name);
    }
    if (name.empty()) {
      print_help(std::cerr);
      return static_cast<int>(kExitUsage);
    }
    log_error("rushes has no command '", name, "'", did_you_mean(name, names),
              " (commands: ", join(names, ", "), ")");
    return static_cast<int>(kExitUsage);
  });
}

}  // namespace rushes
