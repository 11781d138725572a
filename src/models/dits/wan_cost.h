#pragma once
// Work of Wan's transformer: of one forward on one rank, and of all the steps of a clip on one rank of many.

#include <nlohmann/json.hpp>

#include "dist/groups.h"
#include "models/dits/wan_config.h"
#include "models/interfaces.h"
#include "models/load.h"

namespace rushes {

/// One forward pass over latents of these sizes. A model with image conditioning is counted with the 257
/// tokens of one CLIP ViT-H/14 image. Bytes are of float32.
Cost wan_transformer_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                          int64_t text_tokens, int64_t batch);

/// A clip as the denoising loop sees it.
struct WanClip {
  int64_t frames = 1, height = 1, width = 1;  // of the latents
  int64_t text_tokens = 512;
  int64_t steps = 1;
  bool guided = true;   // two forwards a step
  int64_t element = 4;  // bytes of one number of the model
};

/// All steps of one clip on the rank at `seat`. Memory: of one expert's parameters.
Load wan_denoising_load(const WanConfig& config, const WanClip& clip, const Split& split,
                        const Seat& seat = {});

}  // namespace rushes
