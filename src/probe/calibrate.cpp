#include "probe/calibrate.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <thread>

#include "attention/attention.h"
#include "base/timer.h"
#include "device/device.h"
#include "dist/comm.h"
#include "models/registry.h"
#include "models/vaes/wan_vae_layers.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "pipelines/component.h"

namespace rushes {
namespace {

constexpr double kEnoughSeconds = 1.0;  // of repeating one measurement
constexpr double kCudaRuntimeBytes =
    1.5e9;  // a context and the libraries' workspaces lie outside of what is counted

/// Work of one call, and what it is.
struct Sample {
  std::function<void()> call;
  double work = 0;  // operations or bytes
};

void finish(at::Device device) {
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
}

/// The shortest of `times`: whatever else the machine does only adds.
double least_seconds(at::Device device, int times, const std::function<void()>& call) {
  call();
  finish(device);
  double least = 1e30;
  for (int i = 0; i < times; ++i) {
    const Timer timer;
    call();
    finish(device);
    least = std::min(least, timer.seconds());
  }
  return least;
}

/// As often as a second allows, so that a busy neighbour's pauses are found.
double least_seconds(at::Device device, const std::function<void()>& call) {
  const double once = least_seconds(device, 1, call);
  return std::min(
      once, least_seconds(device, static_cast<int>(std::clamp(kEnoughSeconds / once, 4.0, 200.0)), call));
}

double rate(at::Device device, const Sample& sample) {
  return sample.work / least_seconds(device, sample.call);
}

/// Several shapes as one: all their work in all their time.
double rate(at::Device device, const std::vector<Sample>& samples) {
  double work = 0, seconds = 0;
  for (const Sample& sample : samples) {
    work += sample.work;
    seconds += least_seconds(device, sample.call);
  }
  return work / seconds;
}

class Bench {
 public:
  Bench(at::Device device, Dtype dtype)
      : options_(at::TensorOptions(at::kFloat).device(device)),
        dtype_(scalar_type(dtype)),
        device_(device),
        part_(device.is_cpu() && dtype == Dtype::float16 ? 8 : 1) {}

  MeasuredRates rates() const {
    MeasuredRates rates;
    const int64_t n = 2048 / part_;
    rates.peak = rate(device_, product(n, n, n));
    // A DiT's block of 1,536 channels over 2,048 tokens: attention's product and the feed-forward part's two.
    const int64_t width = 1536 / part_, inside = 8960 / part_;
    rates.matmul = rate(device_, std::vector<Sample>{product(n, width, width), product(n, width, inside),
                                                     product(n, inside, width)});
    rates.attention = rate(device_, attention(n, std::max<int64_t>(1, 12 / part_), 128));
    rates.convolution =
        rate(device_, std::vector<Sample>{convolution(384 / part_, 24), convolution(192 / part_, 48),
                                          convolution(96 / part_, 96)});
    return rates;
  }

 private:
  at::Tensor noise(at::IntArrayRef shape) const { return at::randn(shape, options_).to(dtype_); }

  Sample product(int64_t rows, int64_t in, int64_t out) const {
    const Linear layer(LinearWeight(noise({out, in})), noise({out}));
    const at::Tensor x = noise({rows, in});
    return {[=] { layer.forward(x); }, 2.0 * static_cast<double>(rows * in * out)};
  }
  Sample attention(int64_t tokens, int64_t heads, int64_t width) const {
    const AttentionInput input{noise({1, tokens, heads, width}),
                               noise({1, tokens, heads, width}),
                               noise({1, tokens, heads, width}),
                               {},
                               {}};
    return {[=] { attend(input, StepContext()); },
            4.0 * static_cast<double>(tokens * tokens * heads * width)};
  }
  /// Four frames behind the two before them, square.
  Sample convolution(int64_t channels, int64_t side) const {
    const TensorStore none;
    TensorLoader loader(none, {.device = device_, .dtype = dtype_, .invented = true}, "calibration");
    const WanConv layer(loader, "conv", {.in = channels, .out = channels});
    const at::Tensor x = noise({1, 6, side, side, channels});
    return {[=] { layer.forward(x); }, 2.0 * 27 * static_cast<double>(channels * channels * 4 * side * side)};
  }

  at::TensorOptions options_;
  at::ScalarType dtype_;
  at::Device device_;
  int64_t part_;  // of the sizes: CPUs that do not multiply float16 are a thousand times slower
};

/// A DiT's norm and a VAE's norm with SiLU, which an exponential a number slows down, as often each; over
/// more than the caches hold.
double memory_rate(at::Device device) {
  const TensorStore none;
  TensorLoader loader(none, {.device = device, .dtype = at::kFloat, .invented = true}, "calibration");
  const RmsNorm rows(loader, "rows", 1536, 1e-6, RmsNormRounding::after_weight);
  const WanNorm pixels(loader, "pixels", 96, /*images=*/false);
  const at::Tensor x = at::randn({12288, 1536}, at::TensorOptions(at::kFloat).device(device));
  const at::Tensor video = x.view({1, 4, 192, 256, 96}), out = at::empty_like(video);
  const double bytes = 2.0 * static_cast<double>(x.nbytes());
  return rate(device, std::vector<Sample>{{[=] { rows.forward_(x); }, bytes},
                                          {[=] { pixels.forward_silu(video, out); }, bytes}});
}

/// What the threads take to begin a piece of work together and to end it.
double fork_time() {
  const int threads = at::get_num_threads();
  if (threads == 1) return 0;
  const int rounds = 200;
  return least_seconds(at::kCPU,
                       [&] {
                         for (int i = 0; i < rounds; ++i)
                           at::parallel_for(0, threads, 1, [](int64_t, int64_t) {});
                       }) /
         rounds;
}

/// The mean of a product and a sum on next to nothing, which one thread does.
double call_time(at::Device device) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  const Linear layer(LinearWeight(at::randn({64, 64}, options)), at::randn({64}, options));
  const at::Tensor x = at::randn({64, 64}, options), y = at::randn({64, 64}, options);
  const int rounds = 200;
  const double seconds = least_seconds(device, [&] {
    for (int i = 0; i < rounds; ++i) {
      layer.forward(x);
      x.mul(y);
    }
  });
  return seconds / (2 * rounds) + (device.is_cpu() ? fork_time() : 0);
}

double step_time(at::Device device) {
  const auto scheduler =
      make_scheduler("FlowMatchEulerDiscreteScheduler", nlohmann::json::object(), "scheduler");
  const at::Tensor latents = at::randn({1, 16, 1, 8, 8}, at::TensorOptions(at::kFloat).device(device));
  constexpr int64_t kSteps = 50;
  return least_seconds(device,
                       [&] {
                         const auto run = scheduler->start(kSteps, {});
                         at::Tensor x = latents;
                         for (int64_t i = 0; i < kSteps; ++i)
                           x = run->step(latents, x);
                       }) /
         kSteps;
}

/// Weights on their way to the device: on a CPU they are copied into panels of their own.
double load_rate(at::Device device) {
  const at::Tensor host = at::randn({32 << 20});
  return rate(device, {[=] { device.is_cuda() ? host.to(device) : host.clone(); },
                       static_cast<double>(host.nbytes())});
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double whole = 0, resident = 0;
  file >> whole >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

}  // namespace

MeasuredLink measure_link(const Comm& comm) {
  const std::vector<int64_t> ones(static_cast<size_t>(comm.size()), 1);
  const auto gather_seconds = [&](int64_t numbers) {
    const at::Tensor x = at::zeros({1, numbers});
    return least_seconds(at::kCPU, 20, [&] { comm.all_gather(x, 0, ones); });
  };
  constexpr int64_t kNumbers = int64_t{4} << 20;
  const double latency = gather_seconds(1);
  const double bytes = static_cast<double>(comm.size() - 1) * kNumbers * 4;
  return {bytes / std::max(1e-9, gather_seconds(kNumbers) - latency), latency};
}

MeasuredLink measure_thread_link() {
  std::vector<std::unique_ptr<Transport>> transports =
      make_local_transports(2, std::make_shared<CommWatch>());
  MeasuredLink link;
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < transports.size(); ++rank) {
    threads.emplace_back([&, rank] {
      const c10::InferenceMode no_autograd;
      set_threads(1);
      const MeasuredLink mine = measure_link(Comm(std::move(transports[rank]), "link"));
      if (rank == 0) link = mine;
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  return link;
}

Measured calibrate(at::Device device) {
  const c10::InferenceMode no_autograd;
  at::manual_seed(1);
  Measured measured;
  measured.call_seconds = call_time(device);
  measured.step_seconds = step_time(device);
  // After the first operations, before anything large: libraries, threads, a GPU's context.
  measured.runtime_bytes = device.is_cuda() ? kCudaRuntimeBytes : resident_bytes();
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16, Dtype::float16})
    measured.rates[dtype] = Bench(device, dtype).rates();
  measured.memory_bytes_per_second = memory_rate(device);
  measured.host_load_bytes_per_second = load_rate(device);
  return measured;
}

}  // namespace rushes
