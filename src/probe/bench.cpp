#include "probe/bench.h"

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/timer.h"
#include "device/device.h"
#include "models/dits/wan_cost.h"
#include "models/vaes/wan_vae_config.h"
#include "pipelines/component.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

/// What is timed, and the floating-point operations of one call.
struct Work {
  std::function<void()> call;
  double flops = 0;
};

LoadOptions load_options(const BenchRequest& request, at::Device device) {
  return {.device = device, .dtype = scalar_type(request.dtype), .invented = request.invent_weights};
}

at::Tensor noise(at::IntArrayRef shape, const BenchRequest& request) {
  return at::randn(shape, at::TensorOptions(at::kFloat)).to(request.device, scalar_type(request.dtype));
}

/// [1, channels, latent frames, latent height, latent width] of the request's clip.
std::vector<int64_t> latent_shape(const BenchRequest& request, const Vae& vae, int64_t channels) {
  Problems problems;
  for (const auto& [key, side] : {std::pair("height", request.height), {"width", request.width}}) {
    if (side < 1 || side % vae.spatial_ratio() != 0)
      problems.add("--", key, " ", side, ": the model needs a multiple of ", vae.spatial_ratio());
  }
  if (request.num_frames < 1 || (request.num_frames - 1) % vae.temporal_ratio() != 0)
    problems.add("--num-frames ", request.num_frames, ": the model makes ", vae.temporal_ratio(), "k + 1");
  problems.throw_if_any();
  return {1, channels, (request.num_frames - 1) / vae.temporal_ratio() + 1,
          request.height / vae.spatial_ratio(), request.width / vae.spatial_ratio()};
}

Work transformer_work(const BenchRequest& request, const ModelDir& model) {
  const std::shared_ptr<const Transformer> dit =
      load_transformer(model, request.component, load_options(request, request.device));
  const auto vae = load_vae(model, "vae", load_options(request, at::kMeta));
  const std::vector<int64_t> shape = latent_shape(request, *vae, dit->in_channels());
  TransformerInputs inputs;
  inputs.hidden_states = noise(shape, request);
  inputs.timestep = at::full({1}, 500.0, at::TensorOptions(at::kFloat).device(request.device));
  inputs.encoder_hidden_states = noise({1, request.text_tokens, dit->text_dim()}, request);
  const Cost cost = wan_transformer_cost(model.component_config(request.component), shape[2], shape[3],
                                         shape[4], request.text_tokens, /*batch=*/1);
  // As in the loop over steps: what depends on the text alone is made by the first, untimed call.
  const auto memo = std::make_shared<StepMemo>();
  return {[dit, inputs, memo] {
            dit->forward(
                inputs,
                {.step = 0, .attention = AttentionBackend::automatic, .trace = nullptr, .memo = memo.get()});
          },
          cost.flops};
}

Work vae_work(const BenchRequest& request, const ModelDir& model) {
  const std::shared_ptr<const Vae> vae =
      load_vae(model, request.component, load_options(request, request.device));
  const at::Tensor z = noise(latent_shape(request, *vae, vae->latent_channels()), request);
  const Cost cost = wan_vae_decode_cost(model.component_config(request.component), request.num_frames,
                                        request.height, request.width);
  return {[vae, z] { vae->decode(z, StepContext()); }, cost.flops};
}

Work work_of(const BenchRequest& request) {
  const ModelDir model = ModelDir::open(request.model);
  const std::string& class_name = model.require(request.component).class_name;
  const auto is_a = [&](const char* kind) {
    const std::vector<std::string> classes = known_classes(kind);
    return std::find(classes.begin(), classes.end(), class_name) != classes.end();
  };
  if (is_a("transformer")) return transformer_work(request, model);
  if (is_a("vae")) return vae_work(request, model);
  fail("--component ", request.component, ": transformers and VAEs can be timed");
}

void synchronize(at::Device device) {
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
}

}  // namespace

double BenchResult::median() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  return sorted.empty() ? 0 : sorted[sorted.size() / 2];
}

BenchResult run_bench(const BenchRequest& request) {
  const c10::InferenceMode no_autograd;
  at::manual_seed(1);
  const Work work = work_of(request);
  work.call();
  synchronize(request.device);
  BenchResult result;
  result.flops = work.flops;
  for (int64_t i = 0; i < request.repeat; ++i) {
    const Timer timer;
    work.call();
    synchronize(request.device);
    result.seconds.push_back(timer.seconds());
  }
  result.peak_bytes = static_cast<double>(peak_memory(request.device));
  return result;
}

}  // namespace rushes
