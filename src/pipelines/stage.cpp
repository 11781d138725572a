#include "pipelines/stage.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "base/timer.h"
#include "device/kept_memory.h"
#include "device/torch_error.h"

namespace rushes {

void RunContext::check_stop(const char* before_what) const {
  if (replica == nullptr || replica->alone()) return stop.check(before_what);
  const std::vector<int64_t> wishes = replica->all_gather(stop.requested() ? 1 : 0);
  if (std::count(wishes.begin(), wishes.end(), 1) > 0)
    throw StoppedEarly(str("stopped before ", before_what));
}

void ComposedPipeline::run_stage(size_t index, ForwardBatch& batch, const RunContext& context) {
  if (context.memory.offload) {
    for (size_t other = 0; other < stages_.size(); ++other) {
      if (other != index) stages_[other]->release_weights();
    }
    forget_kept_memory();
  }
  Stage& stage = *stages_[index];
  try {
    stage.verify_input(batch);
    stage.forward(batch, context);
    stage.verify_output(batch);
  } catch (const std::exception& error) {
    if (memory_shortage(error)) {
      for (size_t before = 0; before < index; ++before)
        stages_[before]->keep_output(batch, context);
    }
    throw;
  }
}

Clip ComposedPipeline::run(const Request& request, const RunContext& context) {
  const c10::InferenceMode inference;
  ForwardBatch batch;
  batch.request = request;
  Clip clip;
  at::Tensor text_embeds;
  for (size_t index = 0; index < stages_.size(); ++index) {
    const std::string name = stages_[index]->name();
    context.check_stop(name.c_str());
    if (context.observer != nullptr) context.observer->on_stage(name);
    const Traffic before = groups_ != nullptr ? groups_->traffic() : Traffic{};
    const Timer timer;
    run_stage(index, batch, context);
    if (!text_embeds.defined()) text_embeds = batch.prompt_embeds;  // denoising casts them
    StageTime time{.stage = name, .seconds = timer.seconds()};
    if (groups_ != nullptr) {
      const Traffic after = groups_->traffic();
      time.waited = after.waited - before.waited;
      time.bytes_sent = after.bytes_sent - before.bytes_sent;
    }
    clip.times.push_back(std::move(time));
  }
  clip.latents = batch.latents.to(at::kCPU, at::kFloat).contiguous();
  clip.frames = std::move(batch.frames);
  clip.text_embeds = text_embeds.to(at::kCPU, at::kFloat);
  clip.text_tokens = batch.prompt_tokens;
  clip.warnings = std::move(batch.warnings);
  clip.continued_from = batch.continued_from;
  return clip;
}

void require_finite(const at::Tensor& tensor, const std::string& what) {
  if (at::isfinite(tensor).all().item<bool>()) return;
  const auto broken = tensor.numel() - at::isfinite(tensor).sum().item<int64_t>();
  fail(what, " has ", broken, " of ", tensor.numel(),
       " values that are NaN or infinite; if a part runs in 16 bit, try "
       "precision float32 for it, else the weights are broken");
}

}  // namespace rushes
