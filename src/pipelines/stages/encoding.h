#pragma once
// Pictures -> latents, as denoising would end with: the mean of the VAE's distribution, normalised by its
// latent statistics. Follows prepare_latents of diffusers' pipeline_wan_video2video.py, which takes the mode.

#include <memory>

#include "pipelines/component.h"
#include "pipelines/stage.h"

namespace rushes {

class EncodingStage : public Stage {
 public:
  EncodingStage(Reloadable<Vae> vae, at::Device device) : vae_(std::move(vae)), device_(device) {}
  std::string name() const override { return "encoding"; }
  void verify_input(const ForwardBatch& batch) const override;
  void forward(ForwardBatch& batch, const RunContext& context) override;
  void verify_output(const ForwardBatch& batch) const override;
  void release_weights() override { vae_.release(); }

 private:
  Reloadable<Vae> vae_;
  at::Device device_;
};

/// 8-bit frames -> [1, 3, frames, height, width] in [-1, 1], float32.
at::Tensor from_frames(const Frames& frames);

}  // namespace rushes
