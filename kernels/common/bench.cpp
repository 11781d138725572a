#include "kernels/common/bench.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/timer.h"
#include "base/version.h"
#include "device/device.h"
#include "device/kept_memory.h"

namespace rushes {
namespace {

void wait_for(at::Device device) {
  if (device.is_cuda())
    at::detail::getCUDAHooks().deviceSynchronize(at::detail::getCUDAHooks().getCurrentDevice());
}

double seconds_a_call(at::Device device, const std::function<void()>& call, int repeats) {
  wait_for(device);
  const Timer timer;
  for (int i = 0; i < repeats; ++i) {
    call();
  }
  wait_for(device);
  return std::max(timer.seconds() / repeats, 1e-9);
}

}  // namespace

BenchOptions bench_options(int count, char** words) {
  BenchOptions options;
  for (int i = 1; i < count; i += 2) {
    const std::string key = words[i], value = i + 1 < count ? words[i + 1] : "";
    if (key == "--device" && (value == "cpu" || value == "cuda")) {
      options.device = at::Device(value);
    } else if (key == "--threads" && std::atoi(value.c_str()) > 0) {
      at::set_num_threads(std::atoi(value.c_str()));
    } else if (key == "--json" && !value.empty()) {
      options.json = value;
    } else {
      fail("'", key, " ", value, "' is no option; usage: ", words[0],
           " [--device cpu|cuda] [--threads N] [--json FILE]");
    }
  }
  if (options.device.is_cuda() && !at::hasCUDA()) fail("--device cuda: no GPU here, or a build without CUDA");
  return options;
}

BenchRow bench_beside(at::Device device, const std::string& name, double bytes,
                      const std::function<void()>& ours, const std::function<void()>& aten) {
  const at::Tensor from = at::ones({static_cast<int64_t>(bytes / 8)}, at::TensorOptions().device(device));
  at::Tensor to = at::ones_like(from);
  const std::function<void()> calls[] = {ours, aten, [&] { to.copy_(from); }};
  std::vector<double> samples[3];
  int repeats[3];
  for (int i = 0; i < 3; ++i) {
    seconds_a_call(device, calls[i], 1);
    // Samples of about 20 ms, so that the clock and the wait are small in each.
    repeats[i] = std::clamp(static_cast<int>(0.02 / seconds_a_call(device, calls[i], 1)), 1, 10000);
  }
  for (int sample = 0; sample < 11; ++sample) {
    for (int i = 0; i < 3; ++i) {
      samples[i].push_back(seconds_a_call(device, calls[i], repeats[i]));
    }
  }
  const auto median = [&](int i) {
    std::sort(samples[i].begin(), samples[i].end());
    return samples[i][samples[i].size() / 2];
  };
  return {name, bytes, median(0), median(1), median(2)};
}

void bench_report(const std::string& op, const BenchOptions& options, const std::vector<BenchRow>& rows) {
  nlohmann::json cases = nlohmann::json::array();
  std::printf("%s on %s, %d threads, %s\n%-34s %10s %8s %10s %12s\n", op.c_str(),
              options.device.str().c_str(), at::get_num_threads(), at::get_cpu_capability().c_str(), "case",
              "ms", "GB/s", "x ATen", "share of copy");
  for (const BenchRow& row : rows) {
    std::printf("%-34s %10.4f %8.1f %10.2f %11.0f%%\n", row.name.c_str(), row.seconds * 1e3,
                row.bytes / row.seconds / 1e9, row.aten_seconds / row.seconds,
                100 * row.copy_seconds / row.seconds);
    cases.push_back({{"name", row.name},
                     {"bytes", row.bytes},
                     {"seconds", row.seconds},
                     {"aten_seconds", row.aten_seconds},
                     {"copy_seconds", row.copy_seconds}});
  }
  if (options.json.empty()) return;
  nlohmann::json report = bench_origin(options);
  report["op"] = op;
  report["cases"] = cases;
  write_file_atomic(options.json, report.dump(2) + "\n", "bench");
}

nlohmann::json bench_origin(const BenchOptions& options) {
  const DeviceInfo machine = device_info();
  const std::time_t now = std::time(nullptr);
  char date[16] = "";
  std::tm day{};
  if (::gmtime_r(&now, &day) != nullptr) std::strftime(date, sizeof date, "%Y-%m-%d", &day);
  const bool gpu = options.device.is_cuda() && !machine.cuda.empty();
  return {{"date", date},
          {"device", gpu ? machine.cuda[0].name : machine.cpu_model},
          {"kind", options.device.str()},
          {"threads", at::get_num_threads()},
          {"cpu_capability", machine.cpu_level},
          {"versions", {{"rushes", version_text()}, {"torch", TORCH_VERSION}}}};
}

void bench_check(const char* op, const at::Tensor& ours, const at::Tensor& definition) {
  const double worst = (ours.to(at::kFloat) - definition.to(at::kFloat)).abs().max().item<double>();
  const double allowed =
      definition.abs().max().item<double>() * (definition.scalar_type() == at::kFloat ? 1e-5 : 1e-2);
  if (!(worst <= allowed))
    fail(op, " ", definition.toString(), " is off by ", worst, ", more than ", allowed);
}

std::vector<BenchRow> bench_tokens(const BenchOptions& options, std::array<int64_t, 2> dims,
                                   TokensBench* measure) {
  std::vector<BenchRow> rows;
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    rows.push_back(measure(options.device, dtype, 3120, dims[0]));
    rows.push_back(measure(options.device, dtype, 32760, dims[0]));
    if (options.device.is_cuda()) rows.push_back(measure(options.device, dtype, 32760, dims[1]));
  }
  return rows;
}

int bench_tokens_main(int count, char** words, const char* op, std::array<int64_t, 2> dims,
                      TokensBench* measure) {
  return bench_main(count, words, [&](const BenchOptions& options) {
    bench_report(op, options, bench_tokens(options, dims, measure));
  });
}

int bench_main(int count, char** words, const std::function<void(const BenchOptions&)>& body) {
  keep_cpu_memory();  // as in a run: fresh pages cost more than most ops
  try {
    body(bench_options(count, words));
    return 0;
  } catch (const UserError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace rushes
