#include "models/vaes/wan_vae_coders.h"

#include <algorithm>
#include <utility>

namespace rushes {
namespace {

/// For `probe --trace`, in the reference's layout.
void note(const StepContext& context, const std::string& layer, const at::Tensor& x) {
  if (context.trace != nullptr) context.note(layer, x.permute({0, 4, 1, 2, 3}));
}

}  // namespace

WanEncoder::WanEncoder(const WanVaeConfig& config, TensorLoader& loader) : is_residual_(config.is_residual) {
  const std::string root = "encoder.";
  int64_t channels = config.base_dim;
  conv_in_ = WanCausalConv(loader, root + "conv_in", {.in = config.in_channels, .out = channels}, slots_);
  double scale = 1.0;
  int64_t flat = 0;  // without is_residual, blocks and downsamplers are numbered through
  for (int64_t i = 0; i < config.levels(); ++i) {
    const bool last = i == config.levels() - 1;
    const std::string name = root + "down_blocks." + std::to_string(i);
    const auto next = [&] { return root + "down_blocks." + std::to_string(flat++); };
    const bool attends =
        std::find(config.attn_scales.begin(), config.attn_scales.end(), scale) != config.attn_scales.end();
    Level level;
    level.out_channels = config.base_dim * config.dim_mult[static_cast<size_t>(i)];
    level.factor_s = last ? 1 : 2;
    level.factor_t = !last && config.temporal_downsample[static_cast<size_t>(i)] ? 2 : 1;
    for (int64_t j = 0; j < config.num_res_blocks; ++j) {
      level.blocks.emplace_back(loader, is_residual_ ? name + ".resnets." + std::to_string(j) : next(),
                                channels, level.out_channels, slots_);
      channels = level.out_channels;
      if (attends && !is_residual_) level.attentions.emplace_back(loader, next(), channels);
    }
    if (!last)
      level.down.emplace(loader, is_residual_ ? name + ".downsampler" : next(), channels, level.factor_t == 2,
                         slots_);
    levels_.push_back(std::move(level));
    scale /= 2;
  }
  mid_.emplace(loader, root + "mid_block", channels, slots_);
  norm_out_ = WanNorm(loader, root + "norm_out", channels, /*images=*/false);
  conv_out_ = WanCausalConv(loader, root + "conv_out", {.in = channels, .out = 2 * config.z_dim}, slots_);
}

at::Tensor WanEncoder::forward(at::Tensor x, WanStream& stream, const StepContext& context) const {
  WanRows rows = stream.rows;
  x = conv_in_.forward(x, stream);
  note(context, "encoder.conv_in", x);
  for (size_t i = 0; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    at::Tensor kept = is_residual_ ? x : at::Tensor();
    for (size_t j = 0; j < level.blocks.size(); ++j) {
      x = level.blocks[j].forward(x, stream);
      if (!level.attentions.empty()) x = level.attentions[j].forward(x, rows, context);
    }
    if (level.down) {
      x = level.down->forward(x, stream);
      rows = rows.halved();
    }
    if (is_residual_) x = x.add_(wan_average_down(kept, level.out_channels, level.factor_t, level.factor_s));
    note(context, "encoder.level." + std::to_string(i), x);
  }
  x = mid_->forward(x, rows, stream, context);
  note(context, "encoder.mid_block", x);
  x = conv_out_.forward(norm_out_, x, stream);
  note(context, "encoder.conv_out", x);
  stream.first = false;
  return x;
}

WanDecoder::WanDecoder(const WanVaeConfig& config, TensorLoader& loader) : is_residual_(config.is_residual) {
  const std::string root = "decoder.";
  const int64_t last = config.levels() - 1;
  int64_t channels = config.decoder_base_dim * config.dim_mult.back();
  conv_in_ = WanCausalConv(loader, root + "conv_in", {.in = config.z_dim, .out = channels}, slots_);
  mid_.emplace(loader, root + "mid_block", channels, slots_);
  for (int64_t i = 0; i <= last; ++i) {
    const std::string name = root + "up_blocks." + std::to_string(i);
    Level level;
    level.out_channels = config.decoder_base_dim * config.dim_mult[static_cast<size_t>(last - i)];
    for (int64_t j = 0; j <= config.num_res_blocks; ++j) {
      level.blocks.emplace_back(loader, name + ".resnets." + std::to_string(j), channels, level.out_channels,
                                slots_);
      channels = level.out_channels;
    }
    if (i < last) {
      level.factor_s = 2;
      level.factor_t = config.temporal_downsample[static_cast<size_t>(last - 1 - i)] ? 2 : 1;
      const int64_t out = is_residual_ ? channels : channels / 2;
      level.up.emplace(loader, name + (is_residual_ ? ".upsampler" : ".upsamplers.0"), channels, out,
                       level.factor_t == 2, slots_);
      channels = out;
    }
    levels_.push_back(std::move(level));
  }
  norm_out_ = WanNorm(loader, root + "norm_out", channels, /*images=*/false);
  conv_out_ = WanCausalConv(loader, root + "conv_out", {.in = channels, .out = config.out_channels}, slots_);
}

at::Tensor WanDecoder::forward(at::Tensor z, WanStream& stream, const StepContext& context) const {
  at::Tensor x = conv_in_.forward(z, stream);
  note(context, "decoder.conv_in", x);
  x = mid_->forward(x, stream.rows, stream, context);
  note(context, "decoder.mid_block", x);
  for (size_t i = 0; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    at::Tensor kept = is_residual_ && level.up ? x : at::Tensor();
    for (const WanResidualBlock& block : level.blocks)
      x = block.forward(x, stream);
    if (level.up) x = level.up->forward(x, stream);
    if (kept.defined())
      x = x.add_(wan_repeat_up(kept, level.out_channels, level.factor_t, level.factor_s, stream.first));
    note(context, "decoder.up_blocks." + std::to_string(i), x);
  }
  x = conv_out_.forward(norm_out_, x, stream);
  note(context, "decoder.conv_out", x);
  stream.first = false;
  return x;
}

}  // namespace rushes
