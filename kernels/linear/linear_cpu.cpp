#include "kernels/linear/linear_cpu.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>

#include "device/blas_threads.h"
#include "kernels/common/tiles.h"
#include "kernels/linear/linear.h"

namespace rushes {
namespace {

// A tile of 256 rows makes packing the weights' panel 1/256 of its arithmetic; 2^17 elements of y keep a core
// busy for milliseconds at the widths of real models, and give hundreds of tiles at their lengths.
constexpr int64_t kTileRows = 256;
constexpr int64_t kTileElements = int64_t{1} << 17;
// Below this many multiplications waking another thread costs more than it saves (some 20 microseconds).
constexpr int64_t kSerial = int64_t{1} << 20;

}  // namespace

LinearTile linear_tile(int64_t rows, int64_t columns) {
  const int64_t tile_rows = even_piece(rows, kTileRows);
  return {tile_rows, even_piece(columns, std::clamp<int64_t>(kTileElements / tile_rows, 128, 1024))};
}

void linear_cpu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor& y) {
  const int64_t rows = x.size(0), columns = weight.size(0);
  const LinearTile tile = linear_tile(rows, columns);
  const int64_t across = pieces(columns, tile.columns), count = pieces(rows, tile.rows) * across;
  const at::Tensor weight_t = weight.t();
  const int64_t work = tile.rows * tile.columns * x.size(1);
  const bool inference = c10::InferenceMode::is_enabled();
  // Each thread takes the next tile when it is through with one: a thread that shares its core with something
  // else makes fewer of them, where a fixed share would make all others wait. Which thread makes a tile
  // changes no bit.
  std::atomic<int64_t> next{0};
  const int64_t workers = std::clamp<int64_t>(count * work / kSerial, 1, at::get_num_threads());
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    // Both are settings of a thread; the pool's threads do not inherit them.
    const c10::InferenceMode mode(inference);
    const SingleThreadBlas one_thread;
    for (int64_t index = next++; index < count; index = next++) {
      const int64_t row = index / across * tile.rows, column = index % across * tile.columns;
      const int64_t height = std::min(tile.rows, rows - row),
                    width = std::min(tile.columns, columns - column);
      at::Tensor part = y.narrow(0, row, height).narrow(1, column, width);
      const at::Tensor left = x.narrow(0, row, height), right = weight_t.narrow(1, column, width);
      if (bias.defined()) {
        at::addmm_out(part, bias.narrow(0, column, width), left, right);
      } else {
        at::mm_out(part, left, right);
      }
    }
  });
}

}  // namespace rushes
