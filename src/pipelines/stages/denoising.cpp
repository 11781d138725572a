#include "pipelines/stages/denoising.h"

#include <nlohmann/json.hpp>

#include "base/env.h"
#include "base/log.h"
#include "base/timer.h"
#include "device/torch_error.h"

namespace rushes {

namespace {

/// From the leader's checkpoint, or none, to the same on every rank of the replica.
void share_checkpoint(std::optional<Checkpoint>& checkpoint, const Comm* replica) {
  if (replica == nullptr || replica->alone()) return;
  nlohmann::json told;
  if (checkpoint) {
    told["steps_done"] = checkpoint->steps_done;
    checkpoint->history["latents"] = checkpoint->latents;  // no history calls anything so
    for (const auto& [name, tensor] : checkpoint->history) {
      told["tensors"].push_back({{"name", name},
                                 {"sizes", tensor.sizes().vec()},
                                 {"dtype", static_cast<int>(tensor.scalar_type())}});
    }
  }
  const std::string text = replica->broadcast(told.dump(), 0);
  told = nlohmann::json::parse(text);
  if (told.is_null()) return;
  if (!checkpoint) checkpoint.emplace();
  checkpoint->steps_done = told["steps_done"].get<int64_t>();
  for (const nlohmann::json& one : told["tensors"]) {
    const auto name = one["name"].get<std::string>();
    const auto dtype = static_cast<at::ScalarType>(one["dtype"].get<int>());
    at::Tensor& tensor = checkpoint->history[name];
    tensor = tensor.defined() ? tensor.to(at::kCPU).contiguous()
                              : at::empty(one["sizes"].get<std::vector<int64_t>>(), dtype);
    replica->broadcast_(tensor, 0);
  }
  checkpoint->latents = checkpoint->history.at("latents");
  checkpoint->history.erase("latents");
}

}  // namespace

void DenoisingStage::verify_input(const ForwardBatch& batch) const {
  RUSHES_CHECK(batch.schedule && batch.latents.defined() && batch.prompt_embeds.defined(),
               "a stage before is missing");
  RUSHES_CHECK(!batch.guided() || batch.negative_prompt_embeds.defined(),
               "guidance without a negative embedding");
}

/// Communication beside attention: worth its smaller pieces on a GPU, where the two can go on at once.
int64_t DenoisingStage::trade_pieces(at::Device device) {
  const std::string asked = env(EnvVar::overlap);
  const bool number = asked.size() == 1 && asked[0] >= '1' && asked[0] <= '8';
  if (!asked.empty() && !number) fail("RUSHES_OVERLAP is '", asked, "'; give a number of pieces from 1 to 8");
  return number ? asked[0] - '0' : device.is_cuda() ? 2 : 1;
}

Reloadable<Transformer>& DenoisingStage::expert(const at::Tensor& timestep) {
  const bool low_noise = parts_.transformer_2 && timestep.item<double>() < parts_.boundary_timestep;
  return low_noise ? parts_.transformer_2 : parts_.transformer;
}

Reloadable<Transformer>& DenoisingStage::other_expert(const at::Tensor& timestep) {
  return &expert(timestep) == &parts_.transformer ? parts_.transformer_2 : parts_.transformer;
}

/// [1], or with expand_timesteps [1, tokens]: every token at the same noise level in text-to-video.
at::Tensor DenoisingStage::model_timestep(const at::Tensor& timestep, const at::Tensor& latents) const {
  const at::Tensor t = timestep.to(latents.device()).view({1});
  if (!parts_.expand_timesteps) return t;
  // As the reference, which takes every second row and column of the latents whatever the patch size is.
  const int64_t tokens = latents.size(2) * ((latents.size(3) + 1) / 2) * ((latents.size(4) + 1) / 2);
  return t.to(at::kFloat).view({1, 1}).expand({1, tokens});
}

at::Tensor DenoisingStage::predict(const ForwardBatch& batch, const at::Tensor& timestep,
                                   const StepContext& context) {
  const Transformer& model = expert(timestep).get();
  TransformerInputs inputs;
  inputs.hidden_states = batch.latents.to(model.dtype());
  inputs.timestep = model_timestep(timestep, batch.latents);
  inputs.encoder_hidden_states = batch.prompt_embeds;
  if (!batch.guided()) return model.forward(inputs, context);
  const auto forward = [&](bool with_prompt) {
    inputs.encoder_hidden_states = with_prompt ? batch.prompt_embeds : batch.negative_prompt_embeds;
    return model.forward(inputs, context);
  };
  at::Tensor conditional, unconditional;
  if (parts_.groups == nullptr || parts_.groups->cfg.alone()) {
    conditional = forward(true);
    unconditional = forward(false);
  } else {
    // The first half of the replica has the prompt, the second has none.
    const Comm& cfg = parts_.groups->cfg;
    const at::Tensor both = cfg.all_gather(forward(cfg.rank() == 0), 0, {1, 1});
    conditional = both.narrow(0, 0, 1);
    unconditional = both.narrow(0, 1, 1);
  }
  return unconditional + (conditional - unconditional).mul_(batch.request.sampling.guidance_scale);
}

int64_t DenoisingStage::resume(ForwardBatch& batch, const RunContext& context) {
  std::optional<Checkpoint> found;
  if (context.checkpoints != nullptr) found = context.checkpoints->load();
  if (found && found->latents.sizes() != batch.latents.sizes()) found.reset();
  share_checkpoint(found, context.replica);
  if (!found) return 0;
  const at::Device device = batch.latents.device();
  std::map<std::string, at::Tensor> history;
  for (const auto& [name, tensor] : found->history)
    history.emplace(name, tensor.to(device));
  try {
    batch.schedule->resume(found->steps_done, history);
  } catch (const UserError& error) {  // on every rank alike; the schedule is as it was
    log_warning("begins anew, the checkpoint cannot be used: ", error.what());
    return 0;
  }
  batch.latents = found->latents.to(device);
  batch.continued_from = found->steps_done;
  return found->steps_done;
}

void DenoisingStage::keep(const ForwardBatch& batch, int64_t steps_done, const RunContext& context) {
  if (context.checkpoints == nullptr || steps_done <= batch.continued_from) return;
  context.checkpoints->save({steps_done, batch.latents, batch.schedule->history()});
}

void DenoisingStage::keep_output(const ForwardBatch& batch, const RunContext& context) {
  if (batch.schedule) keep(batch, batch.schedule->timesteps().size(0), context);
}

void DenoisingStage::release_weights() {
  parts_.transformer.release();
  parts_.transformer_2.release();
}

void DenoisingStage::forward(ForwardBatch& batch, const RunContext& context) {
  const at::Tensor& timesteps = batch.schedule->timesteps();
  const int64_t steps = timesteps.size(0), first = resume(batch, context);
  if (first < steps) {  // else the weights need not even be there
    const at::ScalarType dtype = expert(timesteps[first]).get().dtype();
    batch.prompt_embeds = batch.prompt_embeds.to(dtype);
    if (batch.guided()) batch.negative_prompt_embeds = batch.negative_prompt_embeds.to(dtype);
  }
  StepMemo memo;  // what the models make of the text is the same at every step
  const Groups* groups = parts_.groups;
  SequenceParallel sp;
  if (groups != nullptr)
    sp = {&groups->ulysses, &groups->ring, &groups->sp, trade_pieces(batch.latents.device())};
  const auto keeping = [&](int64_t step, const auto& work) {
    try {
      return work();
    } catch (const std::exception& error) {
      const bool goes_on = dynamic_cast<const StoppedEarly*>(&error) != nullptr || memory_shortage(error);
      if (goes_on) keep(batch, step, context);
      throw;
    }
  };
  for (int64_t step = first; step < steps; ++step) {
    keeping(step, [&] { context.check_stop("a denoising step"); });
    if (context.memory.offload) {
      Reloadable<Transformer>& idle = other_expert(timesteps[step]);
      if (idle.held()) memo = {};  // it knows models by where they lie in memory
      idle.release();
    }
    const Timer timer;
    const StepContext step_context{.step = step,
                                   .attention = parts_.attention,
                                   .trace = nullptr,
                                   .memo = &memo,
                                   .sp = groups != nullptr && !groups->sp.alone() ? &sp : nullptr};
    const at::Tensor noise = keeping(step, [&] { return predict(batch, timesteps[step], step_context); });
    batch.latents = batch.schedule->step(noise, batch.latents);
    if (context.observer != nullptr) context.observer->on_step(step, steps, timer.seconds());
    if (context.checkpoints != nullptr && context.checkpoints->due()) keep(batch, step + 1, context);
  }
  keeping(steps, [&] { context.check_stop("decoding"); });
}

void DenoisingStage::verify_output(const ForwardBatch& batch) const {
  require_finite(batch.latents, "after denoising the latents");
}

}  // namespace rushes
