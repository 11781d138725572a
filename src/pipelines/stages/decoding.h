#pragma once
// Latents -> pictures: denormalise by the VAE's latent statistics, decode, round to 8 bits.

#include <memory>

#include "pipelines/component.h"
#include "pipelines/stage.h"

namespace rushes {

class DecodingStage : public Stage {
 public:
  /// vae: none on a rank that takes no part. group: the ranks that decode together, of which the first
  /// gets the frames; nullptr: this one alone.
  DecodingStage(Reloadable<Vae> vae, at::Device device, const Comm* group)
      : vae_(std::move(vae)), device_(device), group_(group) {}
  std::string name() const override { return "decoding"; }
  void verify_input(const ForwardBatch& batch) const override;
  void forward(ForwardBatch& batch, const RunContext& context) override;
  void verify_output(const ForwardBatch& batch) const override;
  void release_weights() override { vae_.release(); }

 private:
  Reloadable<Vae> vae_;
  at::Device device_;
  const Comm* group_;
};

/// video: [1, 3, frames, height, width] in [-1, 1] -> 8-bit frames, rounded to nearest (ties to even).
Frames to_frames(const at::Tensor& video);

}  // namespace rushes
