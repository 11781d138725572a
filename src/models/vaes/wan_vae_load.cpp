// The VAE's work by kind, for the planner: what convolutions, products and attention take on a real device
// (narrow layers idle it), what lives at once, what the first rank of a group sends. wan_vae_cost.cpp states
// the plain operations and, to the byte, every rank's messages.

#include <algorithm>

#include "dist/traffic.h"
#include "models/vaes/wan_vae_config.h"

namespace rushes {
namespace {

double real(int64_t n) {
  return static_cast<double>(n);
}

/// Convolutions to few channels leave a device's units idle. Measured with oneDNN (AVX-512): 16 channels a
/// quarter of the rate of 64, 32 two thirds, 3 a fifth. Work is counted as that of the wide one that takes as
/// long.
double width_penalty(int64_t out) {
  return std::clamp(48.0 / static_cast<double>(out), 1.0, 5.0);
}

/// Several ranks hold runs of rows; this counts the first of them, which has the most.
class Counter {
 public:
  /// `chunk` of `total` latent frames are coded at a time, by `ranks` together.
  Counter(int64_t frames, int64_t height, int64_t width, int64_t ranks, const WanVideo& video)
      : frames_(real(frames)),
        rows_(real(even_size(height, ranks, 0))),
        all_rows_(real(height)),
        width_(real(width)),
        ranks_(ranks),
        element_(real(video.element)),
        folds_(video.folds) {}

  void chunks(double chunk, double total) {
    chunk_ = std::min(chunk, total);
    total_ = std::max(total, 1.0);
    // A first frame that comes alone is multiplied by the kernel's last slice only.
    alone_ = chunk_ < 2;
  }

  /// Over each frame and the two before it.
  void causal_conv(int64_t in, int64_t out) {
    const double single = alone_ ? 1.0 : 0.0;
    parameters_ += real(in * out * 27 + out);
    work_.conv_flops +=
        width_penalty(out) * 2 * real(in * out) * pixels() * (27 * (frames_ - single) + 9 * single);
    past_ += 2 * pixels() * real(in) * element_;
    touch(in);
    halo(in);
  }
  void planar_conv(int64_t in, int64_t out) {
    parameters_ += real(in * out * 9 + out);
    add_conv(2 * real(in * out * 9) * frames_ * pixels(), width_penalty(out));
    touch(in);
    halo(in);
  }
  /// Rows are sent before doubling. Folded it is one of 2 x 2 over the smaller picture, to four times as many
  /// channels, which are then put in their places.
  void doubling_conv(int64_t in, int64_t out) {
    halo(in);
    if (folds_) {
      parameters_ += 4 * real(in * out * 4 + out);
      add_conv(2 * real(in * out * 16) * frames_ * pixels(), width_penalty(4 * out));
      touch(in);
    }
    double_size();
    if (folds_) {
      work_.moved_bytes += frames_ * pixels() * element_ * real(2 * out);
    } else {
      parameters_ += real(in * out * 9 + out);
      add_conv(2 * real(in * out * 9) * frames_ * pixels(), width_penalty(out));
      touch(in);
    }
  }
  void temporal_conv(int64_t in, int64_t out, double outputs) {
    parameters_ += real(in * out * 3 + out);
    add_conv(2 * real(in * out * 3) * outputs * pixels(), width_penalty(out));
    past_ += 2 * pixels() * real(in) * element_;
    touch(in);
  }
  void pointwise(int64_t in, int64_t out) {
    parameters_ += real(in * out + out);
    work_.matmul_flops += 2 * real(in * out) * frames_ * pixels();
    touch(in);
  }
  void norm(int64_t channels) { parameters_ += real(channels); }
  void residual_block(int64_t in, int64_t out) {
    norm(in);
    causal_conv(in, out);
    norm(out);
    causal_conv(out, out);
    if (in != out) pointwise(in, out);
    see(std::max(in, out));
  }
  void attention(int64_t channels) {
    norm(channels);
    pointwise(channels, 3 * channels);
    const double own = 4 * frames_ * pixels() * all_rows_ * width_ * real(channels);
    work_.attention_flops += own;
    work_.scores += frames_ * pixels() * all_rows_ * width_;
    // The others' keys and values.
    gather(2 * channels);
    pointwise(channels, channels);
  }
  void mid_block(int64_t channels) {
    residual_block(channels, channels);
    attention(channels);
    residual_block(channels, channels);
  }
  void halve_size() {
    rows_ = static_cast<double>(static_cast<int64_t>(rows_) / 2);
    all_rows_ = static_cast<double>(static_cast<int64_t>(all_rows_) / 2);
    width_ = static_cast<double>(static_cast<int64_t>(width_) / 2);
  }
  double frames() const { return frames_; }
  void set_frames(double frames) { frames_ = frames; }
  double pixels() const { return rows_ * width_; }

  /// Notes an activation of a residual block: five such live at once there (its input, a convolution's padded
  /// input, what that gives, the other one's result, a workspace).
  void see(int64_t channels) { peak_ = std::max(peak_, 5 * activation(channels)); }

  double parameters() const { return parameters_; }
  double peak() const { return peak_; }
  double past() const { return past_; }
  const Load& work() const { return work_; }
  /// The finished pixels go to the first rank.
  void send_result(double bytes) { work_.send(Group::vae, ranks_ > 1 ? static_cast<int64_t>(bytes) : 0); }

 private:
  double activation(int64_t channels) const {
    return frames_ * chunk_ / total_ * pixels() * real(channels) * element_;
  }
  void double_size() {
    rows_ *= 2;
    all_rows_ *= 2;
    width_ *= 2;
  }
  void add_conv(double flops, double penalty) { work_.conv_flops += penalty * flops; }
  /// A convolution and the norm or copy of its `in` channels before it, a chunk each.
  void touch(int64_t in) {
    work_.moved_bytes += frames_ * pixels() * element_ * real(2 * in);
    work_.product_bytes += frames_ * pixels() * element_ * real(2 * in);  // as many channels out, mostly
    work_.calls += 3 * total_ / chunk_;
  }
  /// One row to each neighbour.
  void halo(int64_t channels) {
    if (ranks_ == 1) return;
    const double neighbours = ranks_ > 2 ? 2 : 1;
    work_.to(Group::vae).bytes += neighbours * width_ * frames_ * real(channels) * element_;
    work_.to(Group::vae).exchanges += total_ / chunk_;
  }
  void gather(int64_t channels) {
    if (ranks_ == 1) return;
    work_.to(Group::vae).bytes += real(ranks_ - 1) * frames_ * pixels() * real(channels) * element_;
    work_.to(Group::vae).exchanges += total_ / chunk_;
  }

  double frames_, rows_, all_rows_, width_;  // at the level that is being counted; own rows, all rows
  int64_t ranks_;
  double element_;
  bool folds_;
  double chunk_ = 1, total_ = 1;
  bool alone_ = false;
  double parameters_ = 0, peak_ = 0, past_ = 0;
  Load work_;
};

Counter count_decode(const WanVaeConfig& c, const WanVideo& video, int64_t ranks) {
  const int64_t ratio = c.spatial_factor() * c.patch_size, last = c.levels() - 1;
  const int64_t height = video.height / ratio, width = video.width / ratio;
  const int64_t latent_frames = 1 + (video.frames - 1) / c.temporal_factor();
  Counter count(latent_frames, height, width, ranks, video);
  const int64_t chunk = wan_vae_chunk(c, kWanVaeChunkBytes, /*decode=*/true, 1, even_size(height, ranks, 0),
                                      width, video.element);
  count.chunks(real(chunk), real(latent_frames));
  int64_t channels = c.decoder_base_dim * c.dim_mult.back();
  count.pointwise(c.z_dim, c.z_dim);
  count.causal_conv(c.z_dim, channels);
  count.mid_block(channels);
  for (int64_t i = 0; i <= last; ++i) {
    const int64_t out = c.decoder_base_dim * c.dim_mult[static_cast<size_t>(last - i)];
    for (int64_t j = 0; j <= c.num_res_blocks; ++j) {
      count.residual_block(channels, out);
      channels = out;
    }
    if (i == last) break;
    if (c.temporal_downsample[static_cast<size_t>(last - 1 - i)]) {
      count.temporal_conv(channels, 2 * channels, count.frames() - 1);
      count.set_frames(2 * count.frames() - 1);
    }
    const int64_t after = c.is_residual ? channels : channels / 2;
    count.doubling_conv(channels, after);
    channels = after;
  }
  count.norm(channels);
  count.causal_conv(channels, c.out_channels);
  count.send_result(count.frames() * count.pixels() * real(c.out_channels * video.element));
  return count;
}

Counter count_encode(const WanVaeConfig& c, const WanVideo& video) {
  const int64_t last = c.levels() - 1, p = c.patch_size, factor = c.spatial_factor();
  const int64_t groups = (video.frames - 1) / kWanVaeGroup;
  Counter count(1 + groups * kWanVaeGroup, video.height / p, video.width / p, 1, video);
  const int64_t chunk =
      wan_vae_chunk(c, kWanVaeChunkBytes, /*decode=*/false, 1, video.height / p / factor + 1,
                    video.width / p / factor + 1, video.element);
  count.chunks(real(1 + kWanVaeGroup * chunk), count.frames());
  int64_t channels = c.base_dim;
  count.causal_conv(c.in_channels, channels);
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
    count.halve_size();
    count.planar_conv(channels, channels);
    if (c.temporal_downsample[static_cast<size_t>(i)]) {
      const double after = (count.frames() - 1) / 2;
      count.temporal_conv(channels, channels, after);
      count.set_frames(1 + after);
    }
  }
  count.mid_block(channels);
  count.norm(channels);
  count.causal_conv(channels, 2 * c.z_dim);
  count.pointwise(2 * c.z_dim, 2 * c.z_dim);
  return count;
}

}  // namespace

Load wan_vae_decode_load(const WanVaeConfig& c, const WanVideo& video, const Split& split) {
  const Counter decode = count_decode(c, video, split.vae);
  Load load = decode.work();
  load.weight_bytes = real(video.element) * (decode.parameters() + count_encode(c, video).parameters());
  // The fullest moment; beside it the frames that every convolution remembers, and the pixels so far. At the
  // end the pixels twice (clamped; as float32 between 0 and 1) and as bytes.
  const double numbers = real(video.frames * video.height * video.width * c.video_channels());
  const double running = decode.peak() + decode.past() + numbers * real(video.element);
  load.activation_bytes = std::max(running, numbers * (real(video.element) + kFloat32Bytes + 2));
  return load;
}

Load wan_vae_encode_load(const WanVaeConfig& c, const WanVideo& video) {
  const Counter encode = count_encode(c, video);
  Load load = encode.work();
  load.weight_bytes = real(video.element) * (encode.parameters() + count_decode(c, video, 1).parameters());
  // Beside the fullest moment the pixels, as bytes and as what goes in.
  const double numbers = real(video.frames * video.height * video.width * c.video_channels());
  load.activation_bytes = encode.peak() + encode.past() + numbers * (real(video.element) + 1);
  return load;
}

}  // namespace rushes
