#include "probe/bench.h"

#include <unistd.h>

#include <cxxopts.hpp>
#include <iostream>

#include "base/error.h"
#include "base/file.h"
#include "base/version.h"
#include "commands/bench_command.h"
#include "commands/commands.h"
#include "device/device.h"
#include "dist/world.h"
#include "jobs/run_job.h"

namespace rushes {
namespace {

cxxopts::Options bench_options() {
  cxxopts::Options options("rushes bench", "Times one component on made-up inputs of a clip's size.");
  const auto text = [](const char* otherwise) {
    return cxxopts::value<std::string>()->default_value(otherwise);
  };
  options.add_options()                                                                              //
      ("component", "key of model_index.json: a transformer or a VAE", text("transformer"), "NAME")  //
      ("model", "model folder", text(""), "DIR")                                                     //
      ("invent-weights", "random parameters: only the model's configs are read")                     //
      ("device", "cpu or cuda", text("cpu"), "D")                                                    //
      ("dtype", "float32, bfloat16 or float16", text("float32"), "T")                                //
      ("height", "of the clip, in pixels", text("480"), "N")                                         //
      ("width", "of the clip, in pixels", text("832"), "N")                                          //
      ("num-frames", "of the clip", text("81"), "N")                                                 //
      ("text-tokens", "of the prompt", text("512"), "N")                                             //
      ("repeat", "timed calls", text("3"), "N")                                                      //
      ("json", "write the figures here", text(""), "FILE")("help", "show this");
  return options;
}

BenchRequest read_request(const cxxopts::ParseResult& parsed) {
  Problems problems;
  for (const auto& word : parsed.unmatched())
    problems.add("'", word, "': options begin with --");
  const auto text = [&](const char* name) { return parsed[name].as<std::string>(); };
  const auto number = [&](const char* name, int64_t most) {
    const std::optional<int64_t> value = whole_number(text(name), name, problems);
    if (value && (*value < 1 || *value > most)) problems.add("--", name, " ", *value, ": needs 1 to ", most);
    return value.value_or(1);
  };
  BenchRequest request;
  request.model = text("model");
  request.component = text("component");
  request.invent_weights = parsed.count("invent-weights") > 0;
  request.height = number("height", 16384);
  request.width = number("width", 16384);
  request.num_frames = number("num-frames", 65536);
  request.text_tokens = number("text-tokens", 1 << 20);
  request.repeat = number("repeat", 100000);
  const std::optional<Dtype> dtype = dtype_option(text("dtype"), problems);
  if (text("device") != "cpu" && text("device") != "cuda")
    problems.add("--device '", text("device"), "' is neither cpu nor cuda");
  if (request.model.empty()) problems.add("--model is needed");
  problems.throw_if_any();
  request.dtype = *dtype;
  request.device =
      pick_device(text("device") == "cuda" ? DeviceKind::cuda : DeviceKind::cpu, /*local_rank=*/0);
  return request;
}

nlohmann::ordered_json to_json(const BenchRequest& request, const BenchResult& result, int threads) {
  return {{"component", request.component},
          {"code", version_text()},
          {"device", request.device.str()},
          {"threads", threads},
          {"dtype", dtype_name(request.dtype)},
          {"height", request.height},
          {"width", request.width},
          {"num_frames", request.num_frames},
          {"seconds", result.seconds},
          {"median_s", result.median()},
          {"flops", result.flops},
          {"flops_per_s", result.flops / result.median()},
          {"peak_bytes", result.peak_bytes}};
}

}  // namespace

int bench_command(int argc, char** argv) {
  return answer_errors("bench", [&] {
    cxxopts::Options options = bench_options();
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    const BenchRequest request = read_request(parsed);
    const int threads = threads_of(make_single_world()->place());
    set_threads(threads);
    const BenchResult result = run_bench(request);
    const std::string text = to_json(request, result, threads).dump();
    std::cout << text << "\n";
    const std::string file = parsed["json"].as<std::string>();
    if (!file.empty()) write_file_atomic(file, text + "\n", str("bench-", getpid()));
    return static_cast<int>(kExitDone);
  });
}

}  // namespace rushes
