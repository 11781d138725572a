#pragma once
// The two preparations before denoising: the schedule of timesteps, and the noise to start from.

#include <memory>

#include "pipelines/stage.h"

namespace rushes {

class TimestepPreparationStage : public Stage {
 public:
  explicit TimestepPreparationStage(std::shared_ptr<const Scheduler> scheduler)
      : scheduler_(std::move(scheduler)) {}
  std::string name() const override { return "timestep preparation"; }
  void verify_input(const ForwardBatch& batch) const override;
  void forward(ForwardBatch& batch, const RunContext& context) override;
  void verify_output(const ForwardBatch& batch) const override;

 private:
  std::shared_ptr<const Scheduler> scheduler_;
};

/// Sizes that a VAE and a transformer give to latents.
struct LatentGeometry {
  int64_t channels = 0;        // the transformer's in_channels
  int64_t temporal_ratio = 0;  // video frames a latent frame, but for the first
  int64_t spatial_ratio = 0;   // pixels a latent row or column

  /// [1, channels, frames, height, width] for a clip.
  std::vector<int64_t> shape(const Sampling& sampling) const;
};

/// Noise from a CPU generator seeded by the item alone, so it depends on no rank, device or place in the
/// batch; equal to torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).
class LatentPreparationStage : public Stage {
 public:
  LatentPreparationStage(LatentGeometry geometry, at::Device device) : geometry_(geometry), device_(device) {}
  std::string name() const override { return "latent preparation"; }
  void verify_input(const ForwardBatch& batch) const override;
  void forward(ForwardBatch& batch, const RunContext& context) override;
  void verify_output(const ForwardBatch& batch) const override;

 private:
  LatentGeometry geometry_;
  at::Device device_;
};

}  // namespace rushes
