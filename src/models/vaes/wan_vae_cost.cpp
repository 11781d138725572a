// Work of the VAE, counted layer by layer: two operations for each multiply-add of convolutions and
// attention.

#include <algorithm>

#include "models/vaes/wan_vae_config.h"

namespace rushes {
namespace {

class Counter {
 public:
  /// The size of one frame and how many there are, at the level being counted.
  double frames = 0, height = 0, width = 0;

  void conv(int64_t in, int64_t out, int64_t taps) { conv(in, out, taps, frames * pixels()); }
  void conv(int64_t in, int64_t out, int64_t taps, double outputs) {
    const double weights = static_cast<double>(in) * static_cast<double>(out) * static_cast<double>(taps);
    cost_.flops += 2 * weights * outputs;
    parameters_ += weights + static_cast<double>(out);
  }
  void norm(int64_t channels) { parameters_ += static_cast<double>(channels); }
  void residual_block(int64_t in, int64_t out) {
    norm(in);
    conv(in, out, 27);
    norm(out);
    conv(out, out, 27);
    if (in != out) conv(in, out, 1);
    see(std::max(in, out));
  }
  void attention(int64_t channels) {
    norm(channels);
    conv(channels, 3 * channels, 1);
    cost_.flops += 4 * frames * pixels() * pixels() * static_cast<double>(channels);
    conv(channels, channels, 1);
  }
  void mid_block(int64_t channels) {
    residual_block(channels, channels);
    attention(channels);
    residual_block(channels, channels);
  }
  double pixels() const { return height * width; }
  /// Notes an activation of this level: five such live at once in a residual block.
  void see(int64_t channels) {
    const double share = std::min(1.0, chunk_ / std::max(total_, 1.0));
    cost_.activation_bytes =
        std::max(cost_.activation_bytes, 5 * 4 * frames * share * pixels() * static_cast<double>(channels));
  }
  /// `chunk` of `total` latent frames are coded at a time.
  void chunks(double chunk, double total) {
    chunk_ = chunk;
    total_ = total;
  }
  double parameters() const { return parameters_; }
  const Cost& cost() const { return cost_; }

 private:
  Cost cost_;
  double parameters_ = 0, chunk_ = 1, total_ = 1;
};

Counter count_decode(const WanVaeConfig& c, int64_t frames, int64_t height, int64_t width) {
  const int64_t ratio = c.spatial_factor() * c.patch_size, last = c.levels() - 1;
  const int64_t latent_frames = 1 + (frames - 1) / c.temporal_factor();
  Counter count;
  count.frames = static_cast<double>(latent_frames);
  count.height = static_cast<double>(height / ratio);
  count.width = static_cast<double>(width / ratio);
  const int64_t chunk =
      wan_vae_chunk(c, kWanVaeChunkBytes, /*decode=*/true, 1, height / ratio, width / ratio, 4);
  count.chunks(static_cast<double>(chunk), count.frames);
  int64_t channels = c.decoder_base_dim * c.dim_mult.back();
  count.conv(c.z_dim, c.z_dim, 1);
  count.conv(c.z_dim, channels, 27);
  count.mid_block(channels);
  for (int64_t i = 0; i <= last; ++i) {
    const int64_t out = c.decoder_base_dim * c.dim_mult[static_cast<size_t>(last - i)];
    for (int64_t j = 0; j <= c.num_res_blocks; ++j) {
      count.residual_block(channels, out);
      channels = out;
    }
    if (i == last) break;
    if (c.temporal_downsample[static_cast<size_t>(last - 1 - i)]) {
      count.conv(channels, 2 * channels, 3, (count.frames - 1) * count.pixels());
      count.frames = 2 * count.frames - 1;
    }
    count.height *= 2;
    count.width *= 2;
    count.see(channels);
    const int64_t after = c.is_residual ? channels : channels / 2;
    count.conv(channels, after, 9);
    channels = after;
  }
  count.norm(channels);
  count.conv(channels, c.out_channels, 27);
  return count;
}

Counter count_encode(const WanVaeConfig& c, int64_t frames, int64_t height, int64_t width) {
  const int64_t last = c.levels() - 1, p = c.patch_size, factor = c.spatial_factor();
  const int64_t groups = (frames - 1) / kWanVaeGroup;
  Counter count;
  count.frames = static_cast<double>(1 + groups * kWanVaeGroup);
  count.height = static_cast<double>(height / p);
  count.width = static_cast<double>(width / p);
  const int64_t chunk = wan_vae_chunk(c, kWanVaeChunkBytes, /*decode=*/false, 1, height / p / factor + 1,
                                      width / p / factor + 1, 4);
  count.chunks(static_cast<double>(1 + kWanVaeGroup * chunk), count.frames);
  int64_t channels = c.base_dim;
  count.conv(c.in_channels, channels, 27);
  double scale = 1;
  for (int64_t i = 0; i <= last; ++i) {
    const int64_t out = c.base_dim * c.dim_mult[static_cast<size_t>(i)];
    const bool attends = std::find(c.attn_scales.begin(), c.attn_scales.end(), scale) != c.attn_scales.end();
    for (int64_t j = 0; j < c.num_res_blocks; ++j) {
      count.residual_block(channels, out);
      channels = out;
      if (attends && !c.is_residual) count.attention(channels);
    }
    scale /= 2;
    if (i == last) break;
    count.height = static_cast<double>(static_cast<int64_t>(count.height) / 2);
    count.width = static_cast<double>(static_cast<int64_t>(count.width) / 2);
    count.conv(channels, channels, 9);
    if (c.temporal_downsample[static_cast<size_t>(i)]) {
      const double after = (count.frames - 1) / 2;
      count.conv(channels, channels, 3, after * count.pixels());
      count.frames = 1 + after;
    }
  }
  count.mid_block(channels);
  count.norm(channels);
  count.conv(channels, 2 * c.z_dim, 27);
  count.conv(2 * c.z_dim, 2 * c.z_dim, 1);
  return count;
}

/// Both halves' parameters lie in memory, whichever runs.
Cost with_weights(Cost cost, const Counter& decode, const Counter& encode) {
  cost.weight_bytes = 4 * (decode.parameters() + encode.parameters());
  return cost;
}

}  // namespace

Cost wan_vae_decode_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width) {
  const WanVaeConfig c = parse_wan_vae(config, "vae");
  const Counter decode = count_decode(c, frames, height, width);
  return with_weights(decode.cost(), decode, count_encode(c, frames, height, width));
}

Cost wan_vae_encode_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width) {
  const WanVaeConfig c = parse_wan_vae(config, "vae");
  const Counter encode = count_encode(c, frames, height, width);
  return with_weights(encode.cost(), count_decode(c, frames, height, width), encode);
}

}  // namespace rushes
