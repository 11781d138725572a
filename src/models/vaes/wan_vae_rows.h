#pragma once
// A picture's rows cut over the ranks of a group, for one video that they code together: what the layers that
// look beyond a pixel (wan_vae_layers.h) need of the other ranks.

#include <ATen/ATen.h>

#include <vector>

#include "dist/comm.h"

namespace rushes {

/// Rank r holds a run of heights[r] rows, from rank 0 at the top down; where there are more ranks than rows
/// to deal out, the last ones hold none and take no part. Tensors are [batch, frames, height, width,
/// channels]. Copies share the group, which must outlive them.
class WanRows {
 public:
  /// The whole picture is here.
  WanRows() = default;
  /// `group` may be nullptr: alone, with heights of one rank.
  WanRows(const Comm* group, std::vector<int64_t> heights);

  /// Do several ranks hold rows? Otherwise the one that does codes as if there were no group.
  bool split() const { return holders_ > 1; }
  const std::vector<int64_t>& heights() const { return heights_; }
  int64_t own_rows() const { return heights_[static_cast<size_t>(rank())]; }
  /// Of the own rows in the picture.
  int64_t start() const { return start_of(heights_, rank()); }

  /// padded: [B, T, 1 + own rows + 1, W, C]. Fills the first and the last row by those of the ranks above and
  /// below, by zeros at the picture's border. Collective over the ranks that hold rows, as are the next two.
  void fill_halos(const at::Tensor& padded) const;
  /// padded: [B, T, own rows + 1, W + 1, C]. Fills the last row but for its last column by the first row of
  /// the rank below; at the picture's bottom nothing is written.
  void fill_below(const at::Tensor& padded) const;
  /// x: [n, own rows * W, ...] -> [n, all rows * W, ...]; x itself where not split.
  at::Tensor gather_pixels(const at::Tensor& x) const;

  /// The same ranks after each has halved its rows, rounding down.
  WanRows halved() const;

 private:
  int rank() const { return group_ != nullptr ? group_->rank() : 0; }

  const Comm* group_ = nullptr;
  std::vector<int64_t> heights_ = {0};
  int holders_ = 1;
};

}  // namespace rushes
