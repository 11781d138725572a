#include "models/dits/wan_rope.h"

#include <cmath>

namespace rushes {
namespace {

// [count, dim / 2] angles of one axis, float64.
at::Tensor axis_angles(int64_t count, int64_t dim) {
  at::Tensor angles = at::empty({count, dim / 2}, at::kDouble);
  auto* out = angles.mutable_data_ptr<double>();
  for (int64_t position = 0; position < count; ++position) {
    for (int64_t i = 0; i < dim / 2; ++i) {
      const double frequency = 1.0 / std::pow(10000.0, static_cast<double>(2 * i) / static_cast<double>(dim));
      *out++ = static_cast<double>(position) * frequency;
    }
  }
  return angles;
}

}  // namespace

RopeTable wan_rope_table(int64_t head_dim, const std::array<int64_t, 3>& grid, at::Device device) {
  const int64_t side = 2 * (head_dim / 6);
  const std::array<int64_t, 3> dims{head_dim - 2 * side, side, side};
  std::vector<at::Tensor> cosines, sines;
  for (size_t axis = 0; axis < 3; ++axis) {
    const at::Tensor angles = axis_angles(grid[axis], dims[axis]);
    std::vector<int64_t> shape{1, 1, 1, dims[axis] / 2};
    shape[axis] = grid[axis];
    const std::vector<int64_t> all{grid[0], grid[1], grid[2], dims[axis] / 2};
    cosines.push_back(angles.cos().to(at::kFloat).view(shape).expand(all));
    sines.push_back(angles.sin().to(at::kFloat).view(shape).expand(all));
  }
  return {at::cat(cosines, 3).flatten(0, 2).to(device), at::cat(sines, 3).flatten(0, 2).to(device)};
}

RopeTable WanRope::table(const std::array<int64_t, 3>& grid, at::Device device) {
  const std::lock_guard lock(mutex_);
  if (!table_ || grid_ != grid || table_->cos.device() != device) {
    table_ = wan_rope_table(head_dim_, grid, device);
    grid_ = grid;
  }
  return *table_;
}

}  // namespace rushes
