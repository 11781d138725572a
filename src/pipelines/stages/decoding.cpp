#include "pipelines/stages/decoding.h"

#include <cstring>

namespace rushes {

void DecodingStage::verify_input(const ForwardBatch& batch) const {
  RUSHES_CHECK(batch.latents.dim() == 5, batch.latents.sizes());
}

void DecodingStage::forward(ForwardBatch& batch, const RunContext& run) {
  if (!vae_) return;
  const Vae& vae = vae_.get();
  RUSHES_CHECK(batch.latents.size(1) == vae.latent_channels(), batch.latents.sizes());
  const auto options = at::TensorOptions(at::kFloat);
  const at::Tensor latents = batch.latents.to(device_, vae.dtype());
  const auto statistic = [&](const std::vector<double>& values) {
    return at::tensor(values, options).view({1, vae.latent_channels(), 1, 1, 1}).to(device_, vae.dtype());
  };
  // The reference divides by the reciprocal of the deviation; kept, since it rounds twice.
  const at::Tensor z = latents / (1.0 / statistic(vae.latents_std())) + statistic(vae.latents_mean());
  StepContext context;
  context.vae = group_;
  context.vae_tiles = run.memory.tiles;
  const at::Tensor video = vae.decode(z, context);
  if (group_ != nullptr && group_->rank() != 0) return;
  require_finite(video, "the decoded video");
  batch.frames = to_frames(video);
}

void DecodingStage::verify_output(const ForwardBatch& batch) const {
  if (!vae_ || (group_ != nullptr && group_->rank() != 0)) return;
  const Sampling& wanted = batch.request.sampling;
  const Frames& got = batch.frames;
  RUSHES_CHECK(got.count == wanted.num_frames && got.height == wanted.height && got.width == wanted.width,
               "decoded ", got.count, " frames of ", got.height, " x ", got.width);
}

Frames to_frames(const at::Tensor& video) {
  RUSHES_CHECK(video.dim() == 5 && video.size(0) == 1 && video.size(1) == 3, video.sizes());
  const at::Tensor unit = video.select(0, 0).to(at::kFloat).mul(0.5).add_(0.5).clamp_(0, 1);
  const at::Tensor bytes =
      unit.mul_(255).round_().to(at::kByte).permute({1, 2, 3, 0}).to(at::kCPU).contiguous();
  Frames frames{.count = bytes.size(0), .height = bytes.size(1), .width = bytes.size(2), .rgb = {}};
  frames.rgb.resize(static_cast<size_t>(bytes.numel()));
  std::memcpy(frames.rgb.data(), bytes.const_data_ptr<uint8_t>(), frames.rgb.size());
  return frames;
}

}  // namespace rushes
