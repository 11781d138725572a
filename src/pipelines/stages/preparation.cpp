#include "pipelines/stages/preparation.h"

#include <ATen/CPUGeneratorImpl.h>

namespace rushes {

void TimestepPreparationStage::verify_input(const ForwardBatch& batch) const {
  if (batch.request.sampling.num_inference_steps < 1) fail("num_inference_steps must be at least 1");
}

void TimestepPreparationStage::forward(ForwardBatch& batch, const RunContext&) {
  batch.schedule =
      scheduler_->start(batch.request.sampling.num_inference_steps, batch.request.sampling.flow_shift);
}

void TimestepPreparationStage::verify_output(const ForwardBatch& batch) const {
  RUSHES_CHECK(batch.schedule && batch.schedule->timesteps().size(0) >= 1, "the scheduler made no timesteps");
}

std::vector<int64_t> LatentGeometry::shape(const Sampling& sampling) const {
  return {1, channels, (sampling.num_frames - 1) / temporal_ratio + 1, sampling.height / spatial_ratio,
          sampling.width / spatial_ratio};
}

void LatentPreparationStage::verify_input(const ForwardBatch& batch) const {
  for (const int64_t size : geometry_.shape(batch.request.sampling)) {
    RUSHES_CHECK(size > 0, "latents of shape ", join(geometry_.shape(batch.request.sampling), " x "));
  }
}

void LatentPreparationStage::forward(ForwardBatch& batch, const RunContext&) {
  auto generator =
      at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(batch.request.sampling.seed));
  batch.latents = at::randn(geometry_.shape(batch.request.sampling), generator, at::TensorOptions(at::kFloat))
                      .to(device_);
}

void LatentPreparationStage::verify_output(const ForwardBatch& batch) const {
  RUSHES_CHECK(batch.latents.scalar_type() == at::kFloat, batch.latents.scalar_type());
}

}  // namespace rushes
