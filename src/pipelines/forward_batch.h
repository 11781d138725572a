#pragma once
// The data of one clip on its way through the stages. Each field says which stage fills it; a stage reads
// only fields of stages before it.

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "media/frames.h"
#include "models/interfaces.h"
#include "pipelines/pipeline.h"

namespace rushes {

struct ForwardBatch {
  Request request;  // the input

  // text encoding: [1, max_sequence_length, text dim] in the text encoder's dtype, rows past the prompt zero.
  at::Tensor prompt_embeds;
  int64_t prompt_tokens = 0;          // of its rows those that are not zero
  at::Tensor negative_prompt_embeds;  // undefined without classifier-free guidance

  // timestep preparation
  std::unique_ptr<SchedulerRun> schedule;

  // latent preparation: noise in float32; denoising: the clip, in the dtype that the scheduler gives.
  // [1, channels, frames, height, width], on the device.
  at::Tensor latents;

  int64_t continued_from = 0;  // denoising: steps that a checkpoint had

  // decoding
  Frames frames;

  std::vector<std::string> warnings;

  /// Classifier-free guidance: two forwards a step.
  bool guided() const { return request.sampling.guidance_scale > 1.0; }
};

}  // namespace rushes
