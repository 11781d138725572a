#include <algorithm>
#include <cxxopts.hpp>
#include <iostream>
#include <optional>

#include "base/env.h"
#include "base/log.h"
#include "commands/commands.h"
#include "commands/job_options.h"
#include "commands/run_command.h"
#include "device/torch_error.h"
#include "dist/mpi/mpi_world.h"
#include "jobs/run_job.h"
#include "jobs/signals.h"
#include "jobs/simulation.h"

namespace rushes {
namespace {

cxxopts::Options run_options() {
  cxxopts::Options options("rushes run", "Makes a job's clips, or those that are left of it.");
  add_job_options(options);
  options.add_options()                                                                          //
      ("fresh", "make every item again; each old output is replaced when its new one is whole")  //
      ("retry-failed", "try failed items again, however often they were tried")                  //
      ("noise-floor", "of job: regress: make the clips N times more and say which min_ssim they can hold",
       cxxopts::value<std::string>(), "N")                                            //
      ("verify", "look at every byte of what is there, not only at sizes and times")  //
      ("simulate", "make nothing: show how N replicas would get through the job",
       cxxopts::value<std::string>(), "N")                                                        //
      ("with", "of a simulation: deaths=0.1 an hour, stragglers=0.02, ... (may be given again)",  //
       cxxopts::value<std::string>(), "RULE=NUMBER");
  add_device_option(options);
  options.add_options()("help", "show this");
  return options;
}

RunRequest read_request(const cxxopts::ParseResult& parsed) {
  Problems problems;
  RunRequest request;
  request.job_file = read_job_options(parsed, "run", "run", request.overrides, problems);
  request.fresh = parsed.count("fresh") > 0;
  request.retry_failed = parsed.count("retry-failed") > 0;
  request.verify = parsed.count("verify") > 0;
  if (parsed.count("noise-floor") > 0) {
    const auto reruns = whole_number(parsed["noise-floor"].as<std::string>(), "noise-floor", problems);
    request.noise_floor = reruns.value_or(1);
    if (request.noise_floor < 1 || request.noise_floor > 1000)
      problems.add("--noise-floor must be a number of reruns from 1 to 1000; found ", request.noise_floor);
  }
  for (const char* option : {"with", "device"}) {
    if (parsed.count(option) > 0) problems.add("--", option, " goes with --simulate N");
  }
  problems.throw_if_any();
  return request;
}

/// `run JOB --simulate N`: no world, no weights, nothing of the job's output.
int simulate_in_memory(const cxxopts::ParseResult& parsed, const StopToken& stop) {
  Problems problems;
  JobOverrides overrides;
  SimulationRules rules;
  overrides.any_layout = true;
  const std::string file = read_job_options(parsed, "run", "run", overrides, problems);
  const auto cluster = read_device_option(parsed, overrides, problems);
  const auto replicas = whole_number(parsed["simulate"].as<std::string>(), "simulate", problems);
  rules.replicas = replicas.value_or(1);
  if (rules.replicas < 1 || rules.replicas > 4096)
    problems.add("--simulate must be a number of replicas from 1 to 4096; found ", rules.replicas);
  for (const auto& option : parsed.arguments()) {
    if (option.key() == "with") set_rule(rules, option.value(), problems);
  }
  for (const char* option : {"fresh", "retry-failed", "verify", "noise-floor"}) {
    if (parsed.count(option) > 0) problems.add("--", option, " does not go with --simulate");
  }
  problems.throw_if_any();
  try {
    return simulate_job(file, overrides, cluster, rules, stop, std::cout);
  } catch (const StoppedEarly& stopped) {
    log_error(stopped.what());
    return kExitStopped;
  }
}

LogLevel current_level() {
  const std::string name = env(EnvVar::log_level);
  return name == "debug"     ? LogLevel::debug
         : name == "warning" ? LogLevel::warning
         : name == "error"   ? LogLevel::error
                             : LogLevel::info;
}

bool asks_to_simulate(int argc, char** argv) {
  return std::any_of(argv, argv + argc,
                     [](const char* word) { return std::string(word).starts_with("--simulate"); });
}

}  // namespace

bool asks_for_help(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](const char* word) { return std::string(word) == "--help"; });
}

bool is_first_started() {
  const std::string rank = env(EnvVar::pmix_rank);
  return rank.empty() || rank == "0";
}

int run_in_world(const std::string& command, const std::function<RunRequest()>& read_request,
                 StopToken& stop) {
  const std::unique_ptr<World> made = make_world();
  World& world = *made;
  log_setup(world.rank(), world.size(), current_level());
  try {
    return run_job(world, read_request(), stop);
  } catch (const cxxopts::exceptions::exception& error) {
    // Every rank has the same command line and leaves here; one of them says why.
    if (world.rank() == 0)
      log_error("rushes ", command, ": ", error.what(), " (rushes ", command, " --help lists the options)");
  } catch (const UserError& error) {
    if (world.rank() == 0) {
      for (const std::string& problem : error.problems())
        log_error(problem);
    }
  } catch (const std::exception& error) {
    // The other ranks would wait for this one for ever.
    log_error("rank ", world.rank(), " on ", world.place().host,
              ": internal error (a bug, please report it): ", message_of(error));
    world.abort(kExitBug);
  }
  return world.agree(kExitUsage);
}

int run_command(int argc, char** argv) {
  return answer_errors("run", [&] {
    cxxopts::Options options = run_options();
    if (asks_for_help(argc, argv)) {
      if (is_first_started()) std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    // Signals count from here on: MPI and LibTorch take a moment to start.
    StopToken stop;
    const SignalStop signals(stop);
    if (asks_to_simulate(argc, argv)) {
      if (!is_first_started()) return static_cast<int>(kExitDone);  // one is enough
      log_setup(0, 1, std::max(current_level(), LogLevel::error));
      return simulate_in_memory(options.parse(argc, argv), stop);
    }
    return run_in_world(
        "run", [&] { return read_request(options.parse(argc, argv)); }, stop);
  });
}

}  // namespace rushes
