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
#include "dist/mpi/mpi_world.h"
#include "jobs/clusters.h"
#include "jobs/run_job.h"
#include "probe/calibrate.h"

namespace rushes {
namespace {

cxxopts::Options bench_options() {
  cxxopts::Options options(
      "rushes bench",
      "Times one component on made-up inputs of a clip's size, or this machine for the planner.");
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
      ("calibrate", "measure this machine for the planner instead, and write what `plan` reads")     //
      ("out", "of --calibrate: write here", text(""), "FILE")                                        //
      ("repeat", "timed calls", text("3"), "N")                                                      //
      ("json", "write the figures here", text(""), "FILE")("help", "show this");
  return options;
}

DeviceKind device_kind(const std::string& name, Problems& problems) {
  if (name != "cpu" && name != "cuda") problems.add("--device '", name, "' is neither cpu nor cuda");
  return name == "cuda" ? DeviceKind::cuda : DeviceKind::cpu;
}

/// Said before the work, not after.
void check_file(const char* option, const std::string& path, Problems& problems) {
  if (const std::string problem = file_problem(path); !problem.empty())
    problems.add("--", option, " ", path, ": ", problem);
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
  const DeviceKind kind = device_kind(text("device"), problems);
  if (request.model.empty()) problems.add("--model is needed");
  if (!text("json").empty()) check_file("json", text("json"), problems);
  problems.throw_if_any();
  request.dtype = *dtype;
  request.device = pick_device(kind, /*local_rank=*/0);
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

/// What was measured, beside what this machine says of itself. Of the network nothing is known: the figures
/// of configs/clusters stay.
Cluster measured_cluster(DeviceKind kind, const Measured& measured, const MeasuredLink& link,
                         int64_t ranks_here) {
  const DeviceInfo info = device_info();
  const bool cuda = kind == DeviceKind::cuda;
  Cluster cluster = named_cluster(cuda ? "h100" : "cpu", "--calibrate");
  cluster.name = cuda ? info.cuda[0].name : info.cpu_model;
  cluster.device = kind;
  cluster.ranks_per_node = cuda ? static_cast<int64_t>(info.cuda.size()) : info.cores;
  cluster.memory_bytes = static_cast<double>(cuda ? info.cuda[0].memory_bytes : info.memory_bytes);
  cluster.memory_bytes_per_second = measured.memory_bytes_per_second;
  cluster.runtime_bytes = measured.runtime_bytes;
  cluster.host_load_bytes_per_second = measured.host_load_bytes_per_second;
  cluster.call_seconds = measured.call_seconds;
  cluster.step_seconds = measured.step_seconds;
  for (const auto& [member, dtype] : {std::pair(&ByDtype::float32, Dtype::float32),
                                      {&ByDtype::bfloat16, Dtype::bfloat16},
                                      {&ByDtype::float16, Dtype::float16}}) {
    const MeasuredRates& rates = measured.rates.at(dtype);
    cluster.peak.*member = rates.peak;
    cluster.matmul.*member = rates.matmul / rates.peak;
    cluster.attention.*member = rates.attention / rates.peak;
    cluster.convolution.*member = rates.convolution / rates.peak;
  }
  if (!cuda) {
    // A node's figures; this rank had its share of the cores.
    const auto all = static_cast<double>(ranks_here);
    cluster.memory_bytes_per_second *= all;
    cluster.peak = {all * cluster.peak.float32, all * cluster.peak.bfloat16, all * cluster.peak.float16};
    cluster.node = {link.bytes_per_second, link.latency_seconds};
  }
  return cluster;
}

/// Under mpirun rank 0 measures, and the link between the ranks is MPI's.
int calibrate_command(const cxxopts::ParseResult& parsed) {
  Problems problems;
  const DeviceKind kind = device_kind(parsed["device"].as<std::string>(), problems);
  const std::string asked = parsed["out"].as<std::string>();
  const std::filesystem::path file = asked.empty() ? calibration_file(kind) : std::filesystem::path(asked);
  if (!asked.empty()) check_file("out", asked, problems);
  if (const std::string problem = folder_problem(file.parent_path()); asked.empty() && !problem.empty())
    problems.add("--calibrate: ", file.string(), " cannot be written: ", problem,
                 "; give another file by --out, or another folder by RUSHES_CACHE");
  problems.throw_if_any();
  const std::unique_ptr<World> world = make_world();
  const bool several = world->size() > 1;
  const at::Device device = pick_device(kind, /*local_rank=*/0);
  const int threads = threads_of(world->place());
  set_threads(threads);
  // First, while this process holds nothing else.
  const Measured measured = world->rank() == 0 ? calibrate(device) : Measured();
  const MeasuredLink link =
      several ? measure_link(world->comm(std::make_shared<CommWatch>())) : measure_thread_link();
  if (world->rank() == 0) {
    const Cluster cluster = measured_cluster(kind, measured, link, world->place().local_size);
    const std::string text =
        cluster_yaml(cluster, str("Measured by `rushes bench --calibrate` (", version_text(), ") on ",
                                  world->place().host, ", ", threads, threads == 1 ? " thread" : " threads",
                                  "; links inside the node: ", several ? "MPI" : "threads of one process",
                                  "; network: not measured."));
    if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path());
    write_file_atomic(file, text, str("bench-", getpid()));
    std::cout << text << "written to " << file.string() << "\n";
  }
  return world->agree(kExitDone);
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
    if (parsed.count("calibrate") > 0) return calibrate_command(parsed);
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
