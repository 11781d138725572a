#include "models/vaes/wan_vae_rows.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace rushes {

WanRows::WanRows(const Comm* group, std::vector<int64_t> heights)
    : group_(group), heights_(std::move(heights)) {
  RUSHES_CHECK(static_cast<int>(heights_.size()) == (group == nullptr ? 1 : group->size()), heights_.size(),
               " heights");
  const auto none = std::find(heights_.begin(), heights_.end(), 0);
  RUSHES_CHECK(std::all_of(none, heights_.end(), [](int64_t rows) { return rows == 0; }), "heights ",
               heights_);
  holders_ = static_cast<int>(none - heights_.begin());
}

void WanRows::fill_halos(const at::Tensor& padded) const {
  const int64_t rows = padded.size(2) - 2;
  const Comm::Halos halos = group_->exchange_halos(padded.select(2, 1), padded.select(2, rows), holders_);
  padded.select(2, 0).copy_(halos.from_previous);
  padded.select(2, rows + 1).copy_(halos.from_next);
}

void WanRows::fill_below(const at::Tensor& padded) const {
  const at::Tensor inside = padded.narrow(3, 0, padded.size(3) - 1);
  const Comm::Halos halos = group_->exchange_halos(inside.select(2, 0), {}, holders_);
  if (rank() + 1 < holders_) inside.select(2, padded.size(2) - 1).copy_(halos.from_next);
}

at::Tensor WanRows::gather_pixels(const at::Tensor& x) const {
  if (!split()) return x;
  // Not Comm::all_gather, which the ranks without rows would have to call too.
  const at::Tensor own = x.contiguous();
  const int64_t width = x.size(1) / own_rows();
  std::vector<at::Tensor> parts;
  std::vector<std::vector<int64_t>> shapes;
  for (int r = 0; r < group_->size(); ++r) {
    parts.push_back(r < holders_ ? own : own.narrow(1, 0, 0));
    shapes.push_back(x.sizes().vec());
    shapes.back()[1] = heights_[static_cast<size_t>(r)] * width;
  }
  return at::cat(group_->all_to_all(std::move(parts), shapes), 1);
}

WanRows WanRows::halved() const {
  WanRows half = *this;
  for (int64_t& rows : half.heights_)
    rows /= 2;
  return half;
}

}  // namespace rushes
