#include <cxxopts.hpp>
#include <iostream>
#include <optional>

#include "base/env.h"
#include "base/log.h"
#include "commands/commands.h"
#include "commands/run_command.h"
#include "device/torch_error.h"
#include "dist/mpi/mpi_world.h"
#include "jobs/run_job.h"
#include "jobs/signals.h"

namespace rushes {
namespace {

cxxopts::Options run_options() {
  cxxopts::Options options("rushes run", "Makes a job's clips, or those that are left of it.");
  options.positional_help("JOB");
  options.add_options()                                                                                    //
      ("job", "job file", cxxopts::value<std::string>(), "JOB")                                            //
      ("set", "change a setting: a.b=value (may be given again)", cxxopts::value<std::string>(), "a.b=v")  //
      ("fresh", "make every item again; each old output is replaced when its new one is whole")            //
      ("retry-failed", "try failed items again, however often they were tried")                            //
      ("verify", "look at every byte of what is there, not only at sizes and times")                       //
      ("help", "show this");
  options.parse_positional({"job"});
  return options;
}

RunRequest read_request(const cxxopts::ParseResult& parsed) {
  Problems problems;
  RunRequest request;
  for (const auto& word : parsed.unmatched())
    problems.add("'", word, "': one job file is run at a time");
  if (parsed.count("job") == 0) {
    problems.add("the job file is missing: rushes run JOB");
  } else {
    request.job_file = parsed["job"].as<std::string>();
  }
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
  request.fresh = parsed.count("fresh") > 0;
  request.retry_failed = parsed.count("retry-failed") > 0;
  request.verify = parsed.count("verify") > 0;
  problems.throw_if_any();
  return request;
}

LogLevel current_level() {
  const std::string name = env(EnvVar::log_level);
  return name == "debug"     ? LogLevel::debug
         : name == "warning" ? LogLevel::warning
         : name == "error"   ? LogLevel::error
                             : LogLevel::info;
}

/// With the world made: a bug on one rank must end all of them, since they would wait for this one for ever.
int run_in(World& world, const cxxopts::Options& options, int argc, char** argv, const StopToken& stop) {
  try {
    const RunRequest request = read_request(cxxopts::Options(options).parse(argc, argv));
    return run_job(world, request, stop);
  } catch (const cxxopts::exceptions::exception& error) {
    // Every rank has the same command line and leaves here; one of them says why.
    if (world.rank() == 0) log_error("rushes run: ", error.what(), " (rushes run --help lists the options)");
  } catch (const UserError& error) {
    if (world.rank() == 0) {
      for (const std::string& problem : error.problems())
        log_error(problem);
    }
  } catch (const std::exception& error) {
    log_error("rank ", world.rank(), " on ", world.place().host,
              ": internal error (a bug, please report it): ", message_of(error));
    world.abort(kExitBug);
  }
  return world.agree(kExitUsage);
}

}  // namespace

int run_command(int argc, char** argv) {
  return answer_errors("run", [&] {
    cxxopts::Options options = run_options();
    for (int i = 1; i < argc; ++i) {
      if (std::string(argv[i]) != "--help") continue;
      const std::string rank = env(EnvVar::pmix_rank);  // once, however many ranks were started
      if (rank.empty() || rank == "0") std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    // Signals count from here on: MPI and LibTorch take a moment to start.
    StopToken stop;
    const SignalStop signals(stop);
    const std::unique_ptr<World> world = make_world();
    log_setup(world->rank(), world->size(), current_level());
    return run_in(*world, options, argc, argv, stop);
  });
}

}  // namespace rushes
