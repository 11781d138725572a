#pragma once
// The layers of AutoencoderKLWan (diffusers 0.42, autoencoder_kl_wan.py), as a stream: a video goes through
// them in chunks of frames, and what a layer must remember of earlier frames lies in a WanStream. All layers
// are causal in time, so the result does not depend on how a video is cut into chunks.
//
// Activations are contiguous [batch, frames, height, width, channels] ("BTHWC"): earlier frames are put
// before new ones by a plain copy, norms and 1x1 convolutions run over rows, and convolutions see the same
// memory as channels-last.
//
// Where a picture's rows are split over ranks (WanRows), "height" is the own rows' number. Convolutions over
// pixels then take one row of each neighbour in place of the zeros above and below; everything else is local
// but for attention.

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attention/step_context.h"
#include "kernels/linear/linear.h"
#include "models/vaes/wan_vae_rows.h"
#include "weights/tensor_loader.h"

namespace rushes {

/// What the layers of one encoder or decoder remember of one video.
struct WanStream {
  std::vector<at::Tensor> past;  // by slot: the last input frames of a causal convolution, with their halos
  bool first = true;             // the chunk begins with the video's first frame
  WanRows rows;                  // of what the coder is given
};

/// Hands out slots in WanStream::past.
struct WanSlots {
  int64_t count = 0;
  int64_t next() { return count++; }
};

/// RMS norm over channels, parameter `<name>.gamma` [channels, 1, 1(, 1)].
class WanNorm {
 public:
  WanNorm() = default;
  WanNorm(TensorLoader& loader, const std::string& name, int64_t channels, bool images);
  at::Tensor forward(const at::Tensor& x) const;
  /// silu of it, written to `out`, a view of x's shape whose frames are whole.
  void forward_silu(const at::Tensor& x, const at::Tensor& out) const;

 private:
  at::Tensor gamma_;
};

/// What WanConv does with bfloat16 on a CPU that multiplies float32 faster (kernels/common/brgemm.h:
/// product_dtype): made in float32 and rounded once. x: [B, T, H, W, in], T at least the kernel's; weight:
/// [out, in, time, height, width]; stride and padding of time, height and width, no padding in time -> [B,
/// T', H', W', out], contiguous, x's dtype.
at::Tensor wan_convolve_as_float(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                 const std::vector<int64_t>& stride, const std::vector<int64_t>& padding);

/// A convolution in time, height and width over BTHWC without padding in time.
class WanConv {
 public:
  WanConv() = default;
  struct Shape {
    int64_t in = 0, out = 0;
    std::vector<int64_t> kernel = {3, 3, 3};
    std::vector<int64_t> stride = {1, 1, 1};
    int64_t padding = 1;  // rows and columns of zeros on every side
    bool planar = false;  // stored as a 2-D convolution: [out, in, height, width]
  };
  WanConv(TensorLoader& loader, const std::string& name, const Shape& shape);
  /// Of these parameters, weight [out, in, time, height, width]; stride 1.
  WanConv(at::Tensor weight, at::Tensor bias, int64_t padding);
  /// [B, T, H, W, in] -> [B, (T - kernel) / stride + 1, H', W', out]. `halos`: x has its rows of padding.
  at::Tensor forward(const at::Tensor& x, bool halos = false) const { return convolve(x, weight_, halos); }
  /// One frame [B, 1, H, W, in] with nothing but zeros before it, which are not multiplied.
  at::Tensor forward_first(const at::Tensor& x, bool halos = false) const {
    return convolve(x, last_slice(), halos);
  }
  /// Does it look at the rows beside a pixel's?
  bool pads() const { return padding_[1] > 0; }

 private:
  at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, bool halos) const;
  std::vector<int64_t> padding(bool halos) const { return {0, halos ? 0 : padding_[1], padding_[2]}; }
  at::Tensor last_slice() const;  // of weight_, in time

  at::Tensor weight_, bias_;
  LinearWeight dense_;  // where pointwise, instead of weight_
  std::vector<int64_t> stride_, padding_;
  bool pointwise_ = false;  // 1 x 1 x 1: a matrix product
};

/// A convolution over each frame and the two before it (zeros before the first).
class WanCausalConv {
 public:
  WanCausalConv() = default;
  WanCausalConv(TensorLoader& loader, const std::string& name, const WanConv::Shape& shape, WanSlots& slots);
  at::Tensor forward(const at::Tensor& x, WanStream& stream) const;
  /// The same of silu(norm(x)).
  at::Tensor forward(const WanNorm& norm, const at::Tensor& x, WanStream& stream) const;

 private:
  /// x's frames with what the convolution sees around them.
  struct Padded {
    at::Tensor all;
    at::Tensor frames;  // a view: x's frames, with halos
    at::Tensor own;     // a view: x's place
    bool halos = false;
  };
  /// Room for the two frames before, for x's and, where rows are split, for halos; the two frames are filled
  /// in. Before a video's first frame, where it comes alone, there is only one.
  Padded with_past(const at::Tensor& x, const WanStream& stream) const;
  at::Tensor convolve(const Padded& padded, WanStream& stream) const;

  WanConv conv_;
  int64_t slot_ = 0;
};

/// x + conv2(silu(norm2(conv1(silu(norm1(x)))))), x by a 1x1x1 convolution where the channels change.
class WanResidualBlock {
 public:
  WanResidualBlock(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, WanSlots& slots);
  at::Tensor forward(const at::Tensor& x, WanStream& stream) const;

 private:
  WanNorm norm1_, norm2_;
  WanCausalConv conv1_, conv2_;
  std::optional<WanConv> shortcut_;
};

/// Self-attention of one head among the pixels of each frame, added to x.
class WanAttentionBlock {
 public:
  WanAttentionBlock(TensorLoader& loader, const std::string& name, int64_t channels);
  /// rows: at x's level.
  at::Tensor forward(const at::Tensor& x, const WanRows& rows, const StepContext& context) const;

 private:
  WanNorm norm_;
  WanConv to_qkv_, proj_;
};

/// Residual block, attention, residual block.
class WanMidBlock {
 public:
  WanMidBlock(TensorLoader& loader, const std::string& name, int64_t channels, WanSlots& slots);
  /// rows: at x's level.
  at::Tensor forward(const at::Tensor& x, const WanRows& rows, WanStream& stream,
                     const StepContext& context) const;

 private:
  WanResidualBlock before_;
  WanAttentionBlock attention_;
  WanResidualBlock after_;
};

/// Halves height and width (rounding down) and, with `temporal`, frames: the first stays, then one of each
/// two.
class WanDownsample {
 public:
  WanDownsample(TensorLoader& loader, const std::string& name, int64_t channels, bool temporal,
                WanSlots& slots);
  /// With `temporal`: an odd number of frames in the first chunk, an even one later.
  at::Tensor forward(const at::Tensor& x, WanStream& stream) const;

 private:
  WanConv spatial_;
  std::optional<WanConv> temporal_;
  int64_t slot_ = 0;
};

/// Doubles a picture by nearest neighbours, then a 2-D convolution of 3 x 3.
class WanDoublingConv {
 public:
  WanDoublingConv() = default;
  /// `fold`: made from the picture before doubling, by weights summed where they meet the same pixel: 4
  /// multiply-adds a number in place of 9. For products in float32 only: sums that are rounded to fewer
  /// digits have lost some of their weights'.
  WanDoublingConv(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, bool fold);
  /// [B, T, H, W, in] -> [B, T, 2H, 2W, out]. `halos`: x has a row more at the top and at the bottom.
  at::Tensor forward(const at::Tensor& x, bool halos) const;

 private:
  WanConv conv_;
  bool fold_ = false;
};

/// Doubles height and width and, with `temporal`, frames: the first stays, every later one becomes two.
class WanUpsample {
 public:
  WanUpsample(TensorLoader& loader, const std::string& name, int64_t channels, int64_t out, bool temporal,
              WanSlots& slots);
  at::Tensor forward(const at::Tensor& x, WanStream& stream) const;

 private:
  std::optional<WanCausalConv> temporal_;
  WanDoublingConv spatial_;
};

/// Wan 2.2's shortcut down: means over groups of channels, frames and pixels (AvgDown3D). Frames are filled
/// up by zeros in front.
at::Tensor wan_average_down(const at::Tensor& x, int64_t out_channels, int64_t factor_t, int64_t factor_s);

/// Wan 2.2's shortcut up: repeats (DupUp3D). `first`: the video's first frame becomes one frame only.
at::Tensor wan_repeat_up(const at::Tensor& x, int64_t out_channels, int64_t factor_t, int64_t factor_s,
                         bool first);

}  // namespace rushes
