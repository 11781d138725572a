#include "pipelines/stages/encoding.h"

namespace rushes {

void EncodingStage::verify_input(const ForwardBatch& batch) const {
  const Sampling& wanted = batch.request.sampling;
  RUSHES_CHECK(batch.request.pixels != nullptr, "no pictures to encode");
  const Frames& frames = *batch.request.pixels;
  RUSHES_CHECK(
      frames.count == wanted.num_frames && frames.height == wanted.height && frames.width == wanted.width,
      frames.count, " frames of ", frames.height, " x ", frames.width);
}

void EncodingStage::forward(ForwardBatch& batch, const RunContext& run) {
  const Vae& vae = vae_.get();
  const auto statistic = [&](const std::vector<double>& values) {
    return at::tensor(values, at::TensorOptions(at::kFloat)).view({1, vae.latent_channels(), 1, 1, 1});
  };
  StepContext context;
  context.vae_tiles = run.memory.tiles;
  const at::Tensor video = from_frames(*batch.request.pixels).to(device_, vae.dtype());
  const at::Tensor mean = vae.encode(video, context).mean.to(at::kCPU, at::kFloat);
  batch.latents = (mean - statistic(vae.latents_mean())) * (1.0 / statistic(vae.latents_std()));
  batch.frames = *batch.request.pixels;
}

void EncodingStage::verify_output(const ForwardBatch& batch) const {
  require_finite(batch.latents, "the encoded video");
}

at::Tensor from_frames(const Frames& frames) {
  auto* const rgb = const_cast<uint8_t*>(frames.rgb.data());
  const at::Tensor bytes = at::from_blob(rgb, {1, frames.count, frames.height, frames.width, 3}, at::kByte);
  return bytes.permute({0, 4, 1, 2, 3}).to(at::kFloat).div_(255).mul_(2).sub_(1).contiguous();
}

}  // namespace rushes
