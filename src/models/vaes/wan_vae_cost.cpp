// Work of the VAE, counted layer by layer: two operations for each multiply-add of convolutions and
// attention. What ranks send each other is counted along: see wan_vae_layers.h for who needs which rows.

#include <algorithm>

#include "base/error.h"
#include "dist/comm.h"
#include "models/vaes/wan_vae_config.h"

namespace rushes {
namespace {

class Counter {
 public:
  /// heights: the rows of each rank, of what is given.
  Counter(const WanVaeShare& share, const std::vector<int64_t>& heights) {
    RUSHES_CHECK(share.rank >= 0 && share.rank < share.ranks, "rank ", share.rank, " of ", share.ranks);
    height = static_cast<double>(heights[static_cast<size_t>(share.rank)]);
    for (int64_t rows : heights) {
      whole_ += static_cast<double>(rows);
      if (rows > 0) ++holders_;
    }
    if (share.rank >= holders_) return;
    if (share.rank > 0) ++above_;
    if (share.rank + 1 < holders_) ++below_;
  }

  /// The size of this rank's part of one frame and how many frames there are, at the level being counted.
  double frames = 0, height = 0, width = 0;

  /// To the next level, downwards and upwards.
  void halve() {
    for (double* side : {&height, &whole_, &width})
      *side = static_cast<double>(static_cast<int64_t>(*side) / 2);
  }
  void twice() {
    for (double* side : {&height, &whole_, &width})
      *side *= 2;
  }

  /// One with the rows above and below: a row to each neighbour.
  void padded_conv(int64_t in, int64_t out, int64_t taps) {
    send(in, frames * width * (above_ + below_));
    conv(in, out, taps);
  }
  /// Over the doubled picture, as the model's formula has it; rows are sent before doubling.
  void doubling_conv(int64_t in, int64_t out) {
    send(in, frames * width * (above_ + below_));
    twice();
    conv(in, out, 9);
  }
  /// The one before halving needs the row below.
  void halving_conv(int64_t channels) {
    send(channels, frames * width * above_);
    halve();
    conv(channels, channels, 9);
  }
  /// `times` as many numbers for each channel.
  void send(int64_t channels, double times) { sent_ += static_cast<double>(channels) * times; }
  double sent() const { return sent_; }

  void conv(int64_t in, int64_t out, int64_t taps) { conv(in, out, taps, frames * pixels()); }
  void conv(int64_t in, int64_t out, int64_t taps, double outputs) {
    const double weights = static_cast<double>(in) * static_cast<double>(out) * static_cast<double>(taps);
    cost_.flops += 2 * weights * outputs;
    parameters_ += weights + static_cast<double>(out);
  }
  void norm(int64_t channels) { parameters_ += static_cast<double>(channels); }
  void residual_block(int64_t in, int64_t out) {
    norm(in);
    padded_conv(in, out, 27);
    norm(out);
    padded_conv(out, out, 27);
    if (in != out) conv(in, out, 1);
    see(std::max(in, out));
  }
  void attention(int64_t channels) {
    norm(channels);
    conv(channels, 3 * channels, 1);
    const double all = whole_ * width;
    cost_.flops += 4 * frames * pixels() * all * static_cast<double>(channels);
    conv(channels, channels, 1);
    if (holders_ < 2) return;
    send(2 * channels, frames * pixels() * static_cast<double>(holders_ - 1));
    hold(channels, 5 * pixels() + 2 * all);  // keys and values of the whole picture beside the own part
  }
  void mid_block(int64_t channels) {
    residual_block(channels, channels);
    attention(channels);
    residual_block(channels, channels);
  }
  double pixels() const { return height * width; }
  /// Notes an activation of this level: five such live at once in a residual block, with neighbours' rows.
  void see(int64_t channels) {
    const double halos = holders_ > 1 && height > 0 ? 2 * width : 0;
    hold(channels, 5 * (pixels() + halos));
  }
  /// `chunk` of `total` latent frames are coded at a time.
  void chunks(double chunk, double total) {
    chunk_ = chunk;
    total_ = total;
  }
  double parameters() const { return parameters_; }
  const Cost& cost() const { return cost_; }

 private:
  /// So many numbers of each channel of a frame live at once.
  void hold(int64_t channels, double numbers) {
    const double share = std::min(1.0, chunk_ / std::max(total_, 1.0));
    if (height > 0)
      cost_.activation_bytes =
          std::max(cost_.activation_bytes, 4 * frames * share * numbers * static_cast<double>(channels));
  }

  Cost cost_;
  double parameters_ = 0, chunk_ = 1, total_ = 1;
  double whole_ = 0;              // rows of all ranks
  int64_t holders_ = 0;           // ranks that hold rows
  double above_ = 0, below_ = 0;  // neighbours
  double sent_ = 0;               // numbers
};

Counter count_decode(const WanVaeConfig& c, int64_t frames, int64_t height, int64_t width,
                     const WanVaeShare& share) {
  const int64_t ratio = c.spatial_factor() * c.patch_size, last = c.levels() - 1;
  const int64_t latent_frames = 1 + (frames - 1) / c.temporal_factor();
  const std::vector<int64_t> rows = even_sizes(height / ratio, share.ranks);
  Counter count(share, rows);
  count.frames = static_cast<double>(latent_frames);
  count.width = static_cast<double>(width / ratio);
  const int64_t chunk = wan_vae_chunk(c, kWanVaeChunkBytes, /*decode=*/true, 1, rows[0], width / ratio, 4);
  count.chunks(static_cast<double>(chunk), count.frames);
  int64_t channels = c.decoder_base_dim * c.dim_mult.back();
  count.conv(c.z_dim, c.z_dim, 1);
  count.padded_conv(c.z_dim, channels, 27);
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
    const int64_t after = c.is_residual ? channels : channels / 2;
    count.doubling_conv(channels, after);
    channels = after;
  }
  count.norm(channels);
  count.padded_conv(channels, c.out_channels, 27);
  if (share.rank != 0) count.send(c.out_channels, count.frames * count.pixels());
  return count;
}

Counter count_encode(const WanVaeConfig& c, int64_t frames, int64_t height, int64_t width,
                     const WanVaeShare& share) {
  const int64_t last = c.levels() - 1, p = c.patch_size, factor = c.spatial_factor();
  const int64_t groups = (frames - 1) / kWanVaeGroup;
  const std::vector<int64_t> rows = wan_vae_encode_rows(c, height / p, share.ranks);
  Counter count(share, rows);
  count.frames = static_cast<double>(1 + groups * kWanVaeGroup);
  count.width = static_cast<double>(width / p);
  const int64_t chunk = wan_vae_chunk(c, kWanVaeChunkBytes, /*decode=*/false, 1, rows[0] / factor + 1,
                                      width / p / factor + 1, 4);
  count.chunks(static_cast<double>(1 + kWanVaeGroup * chunk), count.frames);
  int64_t channels = c.base_dim;
  count.padded_conv(c.in_channels, channels, 27);
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
    count.halving_conv(channels);
    if (c.temporal_downsample[static_cast<size_t>(i)]) {
      const double after = (count.frames - 1) / 2;
      count.conv(channels, channels, 3, after * count.pixels());
      count.frames = 1 + after;
    }
  }
  count.mid_block(channels);
  count.norm(channels);
  count.padded_conv(channels, 2 * c.z_dim, 27);
  count.conv(2 * c.z_dim, 2 * c.z_dim, 1);
  count.send(2 * c.z_dim, count.frames * count.pixels() * static_cast<double>(share.ranks - 1));
  return count;
}

/// Both halves' parameters lie in memory, whichever runs.
Cost with_weights(Cost cost, const Counter& decode, const Counter& encode) {
  cost.weight_bytes = 4 * (decode.parameters() + encode.parameters());
  return cost;
}

}  // namespace

Cost wan_vae_decode_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                         const WanVaeShare& share) {
  const WanVaeConfig c = parse_wan_vae(config, "vae");
  const Counter decode = count_decode(c, frames, height, width, share);
  return with_weights(decode.cost(), decode, count_encode(c, frames, height, width, share));
}

Cost wan_vae_encode_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                         const WanVaeShare& share) {
  const WanVaeConfig c = parse_wan_vae(config, "vae");
  const Counter encode = count_encode(c, frames, height, width, share);
  return with_weights(encode.cost(), count_decode(c, frames, height, width, share), encode);
}

double wan_vae_decode_traffic(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                              int64_t element_bytes, const WanVaeShare& share) {
  const WanVaeConfig c = parse_wan_vae(config, "vae");
  return count_decode(c, frames, height, width, share).sent() * static_cast<double>(element_bytes);
}

double wan_vae_encode_traffic(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                              int64_t element_bytes, const WanVaeShare& share) {
  const WanVaeConfig c = parse_wan_vae(config, "vae");
  return count_encode(c, frames, height, width, share).sent() * static_cast<double>(element_bytes);
}

}  // namespace rushes
