#include "probe/probe.h"

#include <cxxopts.hpp>
#include <iostream>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/probe_command.h"
#include "config/job_file.h"
#include "config/yaml/yaml.h"
#include "device/device.h"
#include "dist/groups.h"
#include "dist/mpi/mpi_world.h"
#include "models/tokenizers/icu/nfc.h"

namespace rushes {
namespace {

cxxopts::Options probe_options() {
  cxxopts::Options options("rushes probe",
                           "Runs one component of a model on given tensors; results in float32.");
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()                         //
      ("model", "model folder", text(), "DIR")  //
      ("component", "key of model_index.json: transformer, vae, text_encoder, tokenizer, scheduler", text(),
       "NAME")                                                                                  //
      ("method", "of a VAE: decode or encode", text(), "M")                                     //
      ("in", "safetensors file with the inputs, by diffusers' names", text(), "FILE")           //
      ("text", "text for a tokenizer, cleaned as the pipeline cleans prompts", text(), "TEXT")  //
      ("max-length", "tokens that the text is cut and padded to", text(), "N")                  //
      ("steps", "steps of a scheduler", text(), "N")                                            //
      ("dtype", "type of the parameters: float32, bfloat16 or float16", text()->default_value("float32"),
       "T")                                                                                    //
      ("trace", "write a summary of each layer's output here, as JSON lines", text(), "FILE")  //
      ("parallel", "the job file's axes, for as many ranks under mpirun: \"sp: 2, dit_tp: 3\"", text(),
       "AXES")("out", "safetensors file for the results", text(), "FILE")  //
      ("help", "show this");
  return options;
}

template <class Value>
std::optional<Value> given(const cxxopts::ParseResult& parsed, const char* name) {
  if (parsed.count(name) == 0) return {};
  return parsed[name].as<Value>();
}

ProbeRequest read_request(const cxxopts::ParseResult& parsed) {
  Problems problems;
  for (const auto& word : parsed.unmatched())
    problems.add("'", word, "': options begin with --");
  for (const char* name : {"model", "component", "out"}) {
    if (given<std::string>(parsed, name).value_or("").empty()) problems.add("--", name, " is needed");
  }
  const std::optional<Dtype> dtype = dtype_option(parsed["dtype"].as<std::string>(), problems);
  problems.throw_if_any();
  ProbeRequest request;
  request.model = *given<std::string>(parsed, "model");
  request.component = *given<std::string>(parsed, "component");
  request.out = *given<std::string>(parsed, "out");
  request.in = given<std::string>(parsed, "in");
  request.method = given<std::string>(parsed, "method");
  request.text = given<std::string>(parsed, "text");
  if (const auto text = given<std::string>(parsed, "max-length"))
    request.max_length = whole_number(*text, "max-length", problems);
  if (const auto text = given<std::string>(parsed, "steps"))
    request.steps = whole_number(*text, "steps", problems);
  problems.throw_if_any();
  request.trace = given<std::string>(parsed, "trace");
  request.dtype = *dtype;
  return request;
}

/// World and groups of a probe by many ranks; a probe without --parallel never touches MPI.
struct Together {
  std::unique_ptr<World> world;
  std::optional<Groups> groups;
};

Together ranks_of(const std::string& axes) {
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("--parallel", problems, sources);
  Parallel parallel;
  read_fields(parallel_fields(), parallel, parse_yaml("{" + axes + "}", "--parallel"), "", reading);
  problems.throw_if_any();
  Together together{make_world(), {}};
  parallel.dp = 1;
  const ParallelPlan plan = ParallelPlan::make(parallel, together.world->size());
  if (plan.idle() > 0) fail("--parallel ", axes, ": ", plan.text(), "; start ", plan.replica(), " ranks");
  const auto watch = std::make_shared<CommWatch>(CommWatch{.timeout_seconds = 600, .stage = "probe"});
  together.groups.emplace(make_groups(plan, together.world->comm(watch), together.world->place().nodes));
  return together;
}

int run_together(ProbeRequest request, const std::string& axes) {
  const Together together = ranks_of(axes);
  set_threads(together.world->place().cores);
  request.groups = &*together.groups;
  try {
    run_probe(request, normalize_nfc);
  } catch (const UserError& error) {
    // Every rank has the same request and finds the same.
    if (together.world->rank() != 0) return together.world->agree(kExitUsage);
    for (const std::string& problem : error.problems())
      std::cerr << "rushes probe: " << problem << "\n";
    return together.world->agree(kExitUsage);
  } catch (const std::exception& error) {
    std::cerr << "rushes probe: rank " << together.world->rank() << ": " << error.what() << "\n";
    together.world->abort(kExitBug);
  }
  return together.world->agree(kExitDone);
}

}  // namespace

int probe_command(int argc, char** argv) {
  return answer_errors("probe", [&] {
    cxxopts::Options options = probe_options();
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    const ProbeRequest request = read_request(parsed);
    if (const auto axes = given<std::string>(parsed, "parallel")) return run_together(request, *axes);
    run_probe(request, normalize_nfc);
    return static_cast<int>(kExitDone);
  });
}

}  // namespace rushes
