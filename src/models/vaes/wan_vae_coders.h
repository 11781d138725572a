#pragma once
// The encoder and the decoder of AutoencoderKLWan, chunk by chunk (see wan_vae_layers.h for the layout).

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "models/vaes/wan_vae_config.h"
#include "models/vaes/wan_vae_layers.h"

namespace rushes {

class WanEncoder {
 public:
  WanEncoder(const WanVaeConfig& config, TensorLoader& loader);
  /// rows: of the pictures that forward() is given.
  WanStream start(WanRows rows) const {
    return {std::vector<at::Tensor>(static_cast<size_t>(slots_.count)), true, std::move(rows)};
  }
  /// x: [B, T, H, W, in_channels], T = 1 + 4k in the first chunk, 4k later -> [B, T', H', W', 2 z_dim].
  at::Tensor forward(at::Tensor x, WanStream& stream, const StepContext& context) const;

 private:
  /// One of dim_mult: residual blocks (each maybe with attention), then downsampling.
  struct Level {
    std::vector<WanResidualBlock> blocks;
    std::vector<WanAttentionBlock> attentions;  // none, or one a block
    std::optional<WanDownsample> down;
    int64_t out_channels = 0;
    int64_t factor_t = 1, factor_s = 1;
  };

  WanSlots slots_;
  bool is_residual_ = false;
  WanCausalConv conv_in_;
  std::vector<Level> levels_;
  std::optional<WanMidBlock> mid_;
  WanNorm norm_out_;
  WanCausalConv conv_out_;
};

class WanDecoder {
 public:
  WanDecoder(const WanVaeConfig& config, TensorLoader& loader);
  /// rows: of the latents that forward() is given.
  WanStream start(WanRows rows) const {
    return {std::vector<at::Tensor>(static_cast<size_t>(slots_.count)), true, std::move(rows)};
  }
  /// z: [B, T, H, W, z_dim] -> [B, T', H', W', out_channels].
  at::Tensor forward(at::Tensor z, WanStream& stream, const StepContext& context) const;

 private:
  struct Level {
    std::vector<WanResidualBlock> blocks;
    std::optional<WanUpsample> up;
    int64_t out_channels = 0;
    int64_t factor_t = 1, factor_s = 1;
  };

  WanSlots slots_;
  bool is_residual_ = false;
  WanCausalConv conv_in_;
  std::optional<WanMidBlock> mid_;
  std::vector<Level> levels_;
  WanNorm norm_out_;
  WanCausalConv conv_out_;
};

}  // namespace rushes
