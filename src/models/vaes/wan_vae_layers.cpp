#include "models/vaes/wan_vae_layers.h"

#include <ATen/Config.h>

#include <utility>

#include "attention/attention.h"
#include "base/error.h"
#include "kernels/common/brgemm.h"
#include "kernels/rms_norm/rms_norm.h"
#include "nn/linear.h"

namespace rushes {
namespace {

// x / max(|x|, 1e-12) * sqrt(channels) * gamma is the RMS norm with next to no eps.
constexpr double kNormEps = 1e-30;

at::Tensor as_ncthw(const at::Tensor& bthwc) {
  return bthwc.permute({0, 4, 1, 2, 3});
}

/// Whether these numbers are convolved by a CPU in float32.
bool convolves_float(const LoadOptions& options) {
  const bool as_float = options.dtype == at::kBFloat16 && bfloat16_as_float();
  return options.device.is_cpu() && (options.dtype == at::kFloat || as_float);
}

/// Each pixel of BTHWC as a block of 2 x 2. `halos`: of x's first and last row one each.
at::Tensor doubled(const at::Tensor& x, bool halos) {
  const int64_t halo = halos ? 1 : 0, h = x.size(2) - 2 * halo, w = x.size(3);
  at::Tensor all = at::empty({x.size(0), x.size(1), 2 * (h + halo), 2 * w, x.size(4)}, x.options());
  all.narrow(2, halo, 2 * h)
      .unflatten(2, {h, 2})
      .unflatten(4, {w, 2})
      .copy_(x.narrow(2, halo, h).unsqueeze(3).unsqueeze(5));
  if (halos) {
    all.select(2, 0).unflatten(2, {w, 2}).copy_(x.select(2, 0).unsqueeze(3));
    all.select(2, 2 * h + 1).unflatten(2, {w, 2}).copy_(x.select(2, h + 1).unsqueeze(3));
  }
  return all;
}

/// Three taps over a doubled row or column -> two over the one before doubling: an even place of the doubled
/// one is seen with the place before it, an odd one with the place behind it.
at::Tensor fold_taps(const at::Tensor& weight, int64_t dim, bool odd) {
  const at::Tensor before = weight.narrow(dim, 0, 1), own = weight.narrow(dim, 1, 1),
                   behind = weight.narrow(dim, 2, 1);
  return odd ? at::cat({before + own, behind}, dim) : at::cat({before, own + behind}, dim);
}

/// [out, in, 3, 3] over a doubled picture -> [4 * out, in, 1, 2, 2] over the one before doubling, float32:
/// first all channels of the even rows' even columns, then of their odd ones, then of the odd rows.
at::Tensor fold_doubling(const at::Tensor& stored) {
  const at::Tensor weight = stored.to(at::kFloat);
  std::vector<at::Tensor> parts;
  for (const bool row : {false, true}) {
    for (const bool column : {false, true})
      parts.push_back(fold_taps(fold_taps(weight, 2, row), 3, column));
  }
  return at::cat(parts).unsqueeze(2).contiguous(at::MemoryFormat::ChannelsLast3d);
}

/// What fold_doubling's weights make of a picture and one row and column around it, [B, T, H + 1, W + 1, 4 *
/// out] -> [B, T, 2H, 2W, out].
at::Tensor unfold_doubling(const at::Tensor& y) {
  const int64_t h = y.size(2) - 1, w = y.size(3) - 1, out = y.size(4) / 4;
  at::Tensor pixels = at::empty({y.size(0), y.size(1), 2 * h, 2 * w, out}, y.options());
  const at::Tensor blocks = pixels.view({y.size(0), y.size(1), h, 2, w, 2, out});
  for (int64_t part = 0; part < 4; ++part) {
    const int64_t row = part / 2, column = part % 2;
    blocks.select(3, row).select(4, column).copy_(
        y.narrow(2, row, h).narrow(3, column, w).narrow(4, part * out, out));
  }
  return pixels;
}

}  // namespace

WanNorm::WanNorm(TensorLoader& loader, const std::string& name, int64_t channels, bool images) {
  const std::vector<int64_t> shape =
      images ? std::vector<int64_t>{channels, 1, 1} : std::vector<int64_t>{channels, 1, 1, 1};
  gamma_ = loader.take(name + ".gamma", shape).reshape({channels});
}

at::Tensor WanNorm::forward(const at::Tensor& x) const {
  return rms_norm(x, gamma_, kNormEps);
}

void WanNorm::forward_silu(const at::Tensor& x, const at::Tensor& out) const {
  for (int64_t i = 0; i < x.size(0); ++i) {  // one video at a time: a slice of `out` is whole only there
    at::Tensor video = out[i];
    if (video.is_contiguous()) {
      rms_norm_silu_out(video, x[i], gamma_, kNormEps);
      continue;
    }
    for (int64_t t = 0; t < x.size(1); ++t) {  // halos lie between its frames
      at::Tensor frame = video[t];
      rms_norm_silu_out(frame, x[i][t], gamma_, kNormEps);
    }
  }
}

WanConv::WanConv(TensorLoader& loader, const std::string& name, const Shape& shape)
    : stride_(shape.stride), padding_({0, shape.padding, shape.padding}) {
  const std::vector<int64_t>& k = shape.kernel;
  std::vector<int64_t> stored = {shape.out, shape.in, k[0], k[1], k[2]};
  if (shape.planar) stored.erase(stored.begin() + 2);
  pointwise_ = k[0] * k[1] * k[2] == 1;
  if (pointwise_) {
    dense_ = take_weight(loader, {{name + ".weight", stored}});
  } else {
    weight_ = loader.make({{name + ".weight", stored}}, [&](const std::vector<at::Tensor>& one) {
      return (shape.planar ? one[0].unsqueeze(2) : one[0]).contiguous(at::MemoryFormat::ChannelsLast3d);
    });
  }
  bias_ = loader.take(name + ".bias", {shape.out});
}

WanConv::WanConv(at::Tensor weight, at::Tensor bias, int64_t padding)
    : weight_(std::move(weight)),
      bias_(std::move(bias)),
      stride_({1, 1, 1}),
      padding_({0, padding, padding}) {}

at::Tensor WanConv::last_slice() const {
  return weight_.narrow(2, weight_.size(2) - 1, 1);
}

at::Tensor wan_convolve_as_float(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                 const std::vector<int64_t>& stride, const std::vector<int64_t>& padding) {
  const int64_t frames = (x.size(1) - weight.size(2)) / stride[0] + 1;
  RUSHES_CHECK(x.size(1) >= weight.size(2), "x ", x.sizes(), ", weight ", weight.sizes());
  const at::Tensor wide = weight.to(at::kFloat), wide_bias = bias.to(at::kFloat);
  at::Tensor y;
  // A frame at a time: no more than what it is made of is ever held in float32.
  for (int64_t frame = 0; frame < frames; ++frame) {
    const at::Tensor seen = x.narrow(1, frame * stride[0], weight.size(2)).to(at::kFloat);
    const at::Tensor made =
        at::mkldnn_convolution(as_ncthw(seen), wide, wide_bias, padding, stride, {1, 1, 1}, /*groups=*/1)
            .permute({0, 2, 3, 4, 1});
    if (!y.defined())
      y = at::empty({x.size(0), frames, made.size(2), made.size(3), made.size(4)}, x.options());
    y.narrow(1, frame, 1).copy_(made);
  }
  return y;
}

at::Tensor WanConv::convolve(const at::Tensor& x, const at::Tensor& weight, bool halos) const {
  if (pointwise_) return linear(x, dense_, bias_);
  if (x.is_cpu() && x.scalar_type() == at::kBFloat16 && bfloat16_as_float())
    return wan_convolve_as_float(x, weight, bias_, stride_, padding(halos));
  const at::Tensor input = as_ncthw(x);
  const std::vector<int64_t> dilation = {1, 1, 1};
  // For few channels at::conv3d leaves oneDNN for a float32 loop of its own that is 20 times slower.
  const bool direct = x.is_cpu() && x.scalar_type() == at::kFloat && at::hasMKLDNN();
  const at::Tensor y =
      direct ? at::mkldnn_convolution(input, weight, bias_, padding(halos), stride_, dilation, /*groups=*/1)
             : at::conv3d(input, weight, bias_, stride_, padding(halos), dilation, /*groups=*/1);
  return y.permute({0, 2, 3, 4, 1}).contiguous();
}

WanCausalConv::WanCausalConv(TensorLoader& loader, const std::string& name, const WanConv::Shape& shape,
                             WanSlots& slots)
    : conv_(loader, name, shape), slot_(slots.next()) {
  RUSHES_CHECK(shape.kernel[0] == 3 && shape.stride[0] == 1, "kernel ", shape.kernel[0]);
}

WanCausalConv::Padded WanCausalConv::with_past(const at::Tensor& x, const WanStream& stream) const {
  const at::Tensor& past = stream.past[static_cast<size_t>(slot_)];
  const int64_t before = past.defined() || x.size(1) > 1 ? 2 : 1;
  Padded padded;
  padded.halos = stream.rows.split() && conv_.pads();
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes[1] += before;
  if (padded.halos) sizes[2] += 2;
  padded.all = at::empty(sizes, x.options());
  const at::Tensor front = padded.all.narrow(1, 0, before);
  past.defined() ? front.copy_(past) : front.zero_();
  padded.frames = padded.all.narrow(1, before, x.size(1));
  padded.own = padded.halos ? padded.frames.narrow(2, 1, x.size(2)) : padded.frames;
  return padded;
}

at::Tensor WanCausalConv::convolve(const Padded& padded, WanStream& stream) const {
  // Of new frames only: those before had theirs when they were new.
  if (padded.halos) stream.rows.fill_halos(padded.frames);
  const at::Tensor& all = padded.all;
  const int64_t frames = all.size(1);
  at::Tensor past = all.narrow(1, frames - 2, 2);
  // A view would keep the whole chunk.
  if (frames > 4) past = past.clone();
  stream.past[static_cast<size_t>(slot_)] = past;
  return frames == 2 ? conv_.forward_first(all.narrow(1, 1, 1), padded.halos)
                     : conv_.forward(all, padded.halos);
}

at::Tensor WanCausalConv::forward(const at::Tensor& x, WanStream& stream) const {
  const Padded padded = with_past(x, stream);
  padded.own.copy_(x);
  return convolve(padded, stream);
}

at::Tensor WanCausalConv::forward(const WanNorm& norm, const at::Tensor& x, WanStream& stream) const {
  const Padded padded = with_past(x, stream);
  norm.forward_silu(x, padded.own);
  return convolve(padded, stream);
}

WanResidualBlock::WanResidualBlock(TensorLoader& loader, const std::string& name, int64_t in, int64_t out,
                                   WanSlots& slots)
    : norm1_(loader, name + ".norm1", in, /*images=*/false),
      norm2_(loader, name + ".norm2", out, /*images=*/false),
      conv1_(loader, name + ".conv1", {.in = in, .out = out}, slots),
      conv2_(loader, name + ".conv2", {.in = out, .out = out}, slots) {
  if (in != out)
    shortcut_.emplace(loader, name + ".conv_shortcut",
                      WanConv::Shape{.in = in, .out = out, .kernel = {1, 1, 1}, .padding = 0});
}

at::Tensor WanResidualBlock::forward(const at::Tensor& x, WanStream& stream) const {
  at::Tensor y = conv1_.forward(norm1_, x, stream);
  y = conv2_.forward(norm2_, y, stream);
  return y.add_(shortcut_ ? shortcut_->forward(x) : x);
}

WanAttentionBlock::WanAttentionBlock(TensorLoader& loader, const std::string& name, int64_t channels)
    : norm_(loader, name + ".norm", channels, /*images=*/true),
      to_qkv_(loader, name + ".to_qkv",
              {.in = channels, .out = 3 * channels, .kernel = {1, 1, 1}, .padding = 0, .planar = true}),
      proj_(loader, name + ".proj",
            {.in = channels, .out = channels, .kernel = {1, 1, 1}, .padding = 0, .planar = true}) {}

at::Tensor WanAttentionBlock::forward(const at::Tensor& x, const WanRows& rows,
                                      const StepContext& context) const {
  const int64_t c = x.size(4);
  const at::Tensor qkv =
      to_qkv_.forward(norm_.forward(x)).view({x.size(0) * x.size(1), x.size(2) * x.size(3), 3, c});
  const at::Tensor kv = rows.gather_pixels(qkv.narrow(2, 1, 2));
  const AttentionInput input = {
      .q = qkv.narrow(2, 0, 1), .k = kv.narrow(2, 0, 1), .v = kv.narrow(2, 1, 1), .bias = {}, .scale = {}};
  return proj_.forward(attend(input, context).reshape(x.sizes())).add_(x);
}

WanMidBlock::WanMidBlock(TensorLoader& loader, const std::string& name, int64_t channels, WanSlots& slots)
    : before_(loader, name + ".resnets.0", channels, channels, slots),
      attention_(loader, name + ".attentions.0", channels),
      after_(loader, name + ".resnets.1", channels, channels, slots) {}

at::Tensor WanMidBlock::forward(const at::Tensor& x, const WanRows& rows, WanStream& stream,
                                const StepContext& context) const {
  return after_.forward(attention_.forward(before_.forward(x, stream), rows, context), stream);
}

WanDownsample::WanDownsample(TensorLoader& loader, const std::string& name, int64_t channels, bool temporal,
                             WanSlots& slots)
    : spatial_(loader, name + ".resample.1",
               {.in = channels,
                .out = channels,
                .kernel = {1, 3, 3},
                .stride = {1, 2, 2},
                .padding = 0,
                .planar = true}) {
  if (!temporal) return;
  slot_ = slots.next();
  temporal_.emplace(
      loader, name + ".time_conv",
      WanConv::Shape{
          .in = channels, .out = channels, .kernel = {3, 1, 1}, .stride = {2, 1, 1}, .padding = 0});
}

at::Tensor WanDownsample::forward(const at::Tensor& x, WanStream& stream) const {
  // One row and one column of zeros, at the bottom and at the right.
  const at::Tensor padded = at::constant_pad_nd(x, {0, 0, 0, 1, 0, 1});
  if (stream.rows.split()) stream.rows.fill_below(padded);
  at::Tensor y = spatial_.forward(padded);
  if (!temporal_) return y;
  at::Tensor& past = stream.past[static_cast<size_t>(slot_)];
  const int64_t frames = y.size(1);
  const at::Tensor last = y.narrow(1, frames - 1, 1).clone();
  if (stream.first) {
    RUSHES_CHECK(frames % 2 == 1, frames, " frames in the first chunk");
    if (frames > 1) y = at::cat({y.narrow(1, 0, 1), temporal_->forward(y)}, 1);
  } else {
    RUSHES_CHECK(frames % 2 == 0, frames, " frames in a later chunk");
    y = temporal_->forward(at::cat({past, y}, 1));
  }
  past = last;
  return y;
}

WanDoublingConv::WanDoublingConv(TensorLoader& loader, const std::string& name, int64_t in, int64_t out,
                                 bool fold)
    : fold_(fold) {
  if (!fold) {
    conv_ = WanConv(loader, name, {.in = in, .out = out, .kernel = {1, 3, 3}, .padding = 1, .planar = true});
    return;
  }
  using Stored = std::vector<at::Tensor>;
  conv_ = WanConv(loader.make({{name + ".weight", {out, in, 3, 3}}},
                              [](const Stored& one) { return fold_doubling(one[0]); }),
                  loader.make({{name + ".bias", {out}}},
                              [](const Stored& one) { return one[0].to(at::kFloat).repeat({4}); }),
                  /*padding=*/1);
}

at::Tensor WanDoublingConv::forward(const at::Tensor& x, bool halos) const {
  return fold_ ? unfold_doubling(conv_.forward(x, halos)) : conv_.forward(doubled(x, halos), halos);
}

WanUpsample::WanUpsample(TensorLoader& loader, const std::string& name, int64_t channels, int64_t out,
                         bool temporal, WanSlots& slots)
    : spatial_(loader, name + ".resample.1", channels, out, convolves_float(loader.options())) {
  if (temporal)
    temporal_.emplace(loader, name + ".time_conv",
                      WanConv::Shape{.in = channels, .out = 2 * channels, .kernel = {3, 1, 1}, .padding = 0},
                      slots);
}

at::Tensor WanUpsample::forward(const at::Tensor& x, WanStream& stream) const {
  const int64_t b = x.size(0), t = x.size(1), h = x.size(2), w = x.size(3), c = x.size(4);
  // The video's first frame is neither doubled nor seen by the convolution in time.
  const int64_t single = !temporal_ ? t : (stream.first ? 1 : 0), pairs = t - single;
  const bool halos = stream.rows.split();
  if (pairs == 0 && !halos) return spatial_.forward(x, halos);
  const at::Tensor padded = at::empty({b, single + 2 * pairs, h + (halos ? 2 : 0), w, c}, x.options());
  const at::Tensor own = halos ? padded.narrow(2, 1, h) : padded;
  if (single > 0) own.narrow(1, 0, single).copy_(x.narrow(1, 0, single));
  if (pairs > 0) {
    // The first half of the channels is the earlier frame of each pair.
    const at::Tensor made = temporal_->forward(x.narrow(1, single, pairs), stream);
    own.narrow(1, single, 2 * pairs)
        .unflatten(1, {pairs, 2})
        .copy_(made.view({b, pairs, h, w, 2, c}).permute({0, 1, 4, 2, 3, 5}));
  }
  if (halos) stream.rows.fill_halos(padded);
  return spatial_.forward(padded, halos);
}

at::Tensor wan_average_down(const at::Tensor& x, int64_t out_channels, int64_t factor_t, int64_t factor_s) {
  const int64_t missing = (factor_t - x.size(1) % factor_t) % factor_t;
  const at::Tensor full = missing == 0 ? x : at::constant_pad_nd(x, {0, 0, 0, 0, 0, 0, missing, 0});
  const int64_t b = x.size(0), t = full.size(1) / factor_t, h = x.size(2) / factor_s,
                w = x.size(3) / factor_s;
  return full.view({b, t, factor_t, h, factor_s, w, factor_s, x.size(4)})
      .permute({0, 1, 3, 5, 7, 2, 4, 6})
      .reshape({b, t, h, w, out_channels, -1})
      .mean(-1);
}

at::Tensor wan_repeat_up(const at::Tensor& x, int64_t out_channels, int64_t factor_t, int64_t factor_s,
                         bool first) {
  const int64_t b = x.size(0), t = x.size(1), h = x.size(2), w = x.size(3), c = x.size(4);
  const int64_t repeats = out_channels * factor_t * factor_s * factor_s / c;
  const at::Tensor y = x.unsqueeze(-1)
                           .expand({b, t, h, w, c, repeats})
                           .reshape({b, t, h, w, out_channels, factor_t, factor_s, factor_s})
                           .permute({0, 1, 5, 2, 6, 3, 7, 4})
                           .reshape({b, t * factor_t, h * factor_s, w * factor_s, out_channels});
  return first ? y.slice(1, factor_t - 1) : y;
}

}  // namespace rushes
