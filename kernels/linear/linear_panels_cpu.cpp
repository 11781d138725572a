#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "kernels/common/brgemm.h"
#include "kernels/common/cpu.h"
#include "kernels/common/tiles.h"
#include "kernels/linear/linear_panels.h"

namespace rushes {
namespace {

constexpr int64_t kPanel = 64;  // four registers of 16 floats: the widest block the micro-kernel keeps
// 192 rows are 32 times what the micro-kernel keeps in registers, so that reading a panel costs little; with
// 4 panels they are a millisecond of work at the widths of real models.
constexpr int64_t kRows = 192;
constexpr int64_t kGroup = 4;
constexpr int64_t kDepth = 2048;  // of x and panel at a time: 512 KiB of panel, half of a core's own cache
// Sums are finished while the nearest cache has them: 48 rows of a panel are 12 KiB.
constexpr int64_t kFinished = 48;
// Below this many multiplications waking another thread costs more than it saves (some 20 microseconds).
constexpr int64_t kSerial = int64_t{1} << 21;

struct Problem {
  int64_t rows, in, out, x_stride;
  int64_t depth, panels;
  int64_t tile_rows = kRows, group = kGroup;  // of a tile: rows and panels

  int64_t groups() const { return pieces(panels, group); }
  int64_t tiles() const { return pieces(rows, tile_rows) * groups(); }
  /// Smaller tiles where `workers` would not have some each to choose from.
  void cut_for(int64_t workers) {
    while (workers > 1 && tiles() < 4 * workers && (group > 1 || tile_rows > kFinished)) {
      if (group > 1) {
        group /= 2;
      } else {
        tile_rows /= 2;
      }
    }
  }
};

// T: of x and the weight; Y: of the result, T or float32.
template <class T, class Y>
struct Operands {
  const T* x;
  const T* panels;
  const T* bias;  // or null
  Y* y;
  bool gelu;
};

// ---- packing

template <class T>
struct PackPanel {
  // 16 inputs at a time: their cache lines of all 64 rows stay near while they are read through.
  RUSHES_INLINE static void run(const T* weight, int64_t in, int64_t columns, T* panel) {
    constexpr int64_t kPair = sizeof(T) == 2 ? 2 : 1;
    for (int64_t first = 0; first < in; first += 16) {
      const int64_t last = std::min(in, first + 16);
      for (int64_t column = 0; column < kPanel; ++column) {
        for (int64_t k = first; k < last; ++k) {
          panel[(k / kPair * kPanel + column) * kPair + k % kPair] =
              column < columns ? weight[column * in + k] : T(0.0f);
        }
      }
    }
  }
};

template <class T>
void pack(const at::Tensor& weight, at::Tensor& panels) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const T* from = weight.const_data_ptr<T>();
  T* to = panels.mutable_data_ptr<T>();
  at::parallel_for(0, panels.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t column = panel * kPanel;
      PackPanel<T>::run(from + column * in, in, std::min(kPanel, out - column), to + panel * kPanel * in);
    }
  });
}

// ---- the product

template <class Y, bool kGelu>
RUSHES_INLINE Y finished(float sum) {
  if constexpr (kGelu) sum = gelu_tanh(to_float(from_float<Y>(sum)));
  return from_float<Y>(sum);
}

/// y = sums + bias, rounded, then the activation; one block.
template <class T, class Y, bool kGelu>
struct FinishBlock {
  RUSHES_INLINE static void run(const float* sums, int64_t stride, const T* bias, Y* y, int64_t out,
                                int64_t rows, int64_t columns) {
    for (int64_t row = 0; row < rows; ++row) {
      const float* from = sums + row * stride;
      Y* to = y + row * out;
      if (bias == nullptr) {
#pragma GCC ivdep
        for (int64_t i = 0; i < columns; ++i)
          to[i] = finished<Y, kGelu>(from[i]);
      } else {
#pragma GCC ivdep
        for (int64_t i = 0; i < columns; ++i)
          to[i] = finished<Y, kGelu>(from[i] + to_float(bias[i]));
      }
    }
  }
};

/// `rows` x `columns` sums to y, at y's row and column.
template <class T, class Y>
void finish(const Operands<T, Y>& o, const float* sums, int64_t stride, int64_t out, int64_t row,
            int64_t column, int64_t rows, int64_t columns) {
  const T* bias = o.bias == nullptr ? nullptr : o.bias + column;
  Y* to = o.y + row * out + column;
  if (o.gelu) {
    run_best<FinishBlock<T, Y, true>>(cpu_level(), sums, stride, bias, to, out, rows, columns);
  } else {
    run_best<FinishBlock<T, Y, false>>(cpu_level(), sums, stride, bias, to, out, rows, columns);
  }
}

/// One tile of rows by a group of panels. `scratch`: a tile's sums, or null: they are made in y.
template <class T, class Y>
void run_tile(const Problem& p, const Operands<T, Y>& o, int64_t row, int64_t first_panel, float* scratch) {
  const int64_t rows = std::min(p.tile_rows, p.rows - row);
  const int64_t last_panel = std::min(p.panels, first_panel + p.group);
  const auto sums_of = [&](int64_t panel) {
    if constexpr (sizeof(Y) == 4) {
      if (scratch == nullptr) return o.y + row * p.out + panel * kPanel;
    }
    return scratch + (panel - first_panel) * p.tile_rows * kPanel;
  };
  const int64_t stride = scratch == nullptr ? p.out : kPanel;
  for (int64_t k = 0; k < p.in; k += p.depth) {
    const int64_t depth = std::min(p.depth, p.in - k);
    const bool finishes = scratch != nullptr && k + depth == p.in;
    const int64_t step = finishes ? kFinished : rows;
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      const int64_t column = panel * kPanel, columns = std::min(kPanel, p.out - column);
      for (int64_t first = 0; first < rows; first += step) {
        const int64_t height = std::min(step, rows - first);
        float* sums = sums_of(panel) + first * stride;
        brgemm(height, columns, depth, o.x + (row + first) * p.x_stride + k, p.x_stride,
               o.panels + (panel * p.in + k) * kPanel, kPanel, sums, stride, /*add=*/k > 0);
        if (finishes) finish(o, sums, stride, p.out, row + first, column, height, columns);
      }
    }
  }
}

template <class T, class Y>
void multiply(Problem p, const Operands<T, Y>& o) {
  const int64_t worth = std::max<int64_t>(1, p.rows * p.out * p.in / kSerial);
  p.cut_for(std::min<int64_t>(worth, at::get_num_threads()));
  const int64_t count = p.tiles(), workers = std::min({worth, count, int64_t{at::get_num_threads()}});
  // What is only a sum is made where it belongs. Otherwise sums lie together, where they are read back faster
  // than from y, whose rows lie far from each other.
  const bool in_place = sizeof(Y) == 4 && o.bias == nullptr && !o.gelu;
  const size_t sums = in_place ? 0 : static_cast<size_t>(std::min(p.group, p.panels) * p.tile_rows * kPanel);
  // Each thread takes the next tile when it is through with one: a thread that shares its core with something
  // else makes fewer of them. Which thread makes a tile changes no bit.
  std::atomic<int64_t> next{0};
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    const BrgemmTurn turn(c10::CppTypeToScalarType<T>::value);
    const auto scratch = in_place ? nullptr : std::make_unique_for_overwrite<float[]>(sums);
    for (int64_t index = next++; index < count; index = next++)
      run_tile(p, o, index / p.groups() * p.tile_rows, index % p.groups() * p.group, scratch.get());
  });
}

template <class T, class Y>
void multiply(const at::Tensor& x, const at::Tensor& panels, const at::Tensor& bias, at::Tensor& y,
              bool gelu) {
  const int64_t rows = y.size(0), in = panels.size(1);
  const at::Tensor own_bias = bias.defined() ? bias.contiguous() : bias;
  multiply<T, Y>({.rows = rows,
                  .in = in,
                  .out = y.size(1),
                  .x_stride = x.stride(0),
                  .depth = even_piece(in, kDepth),
                  .panels = panels.size(0)},
                 {.x = x.const_data_ptr<T>(),
                  .panels = panels.const_data_ptr<T>(),
                  .bias = bias.defined() ? own_bias.const_data_ptr<T>() : nullptr,
                  .y = y.mutable_data_ptr<Y>(),
                  .gelu = gelu});
}

}  // namespace

bool can_pack_panels(at::ScalarType dtype, int64_t in) {
  return has_brgemm(dtype) && (dtype == at::kFloat || in % 2 == 0);
}

at::Tensor pack_panels(const at::Tensor& weight) {
  const at::Tensor own = weight.contiguous();
  const int64_t panels = pieces(own.size(0), kPanel);
  at::Tensor packed = at::empty({panels, own.size(1), kPanel}, own.options());
  own.scalar_type() == at::kFloat ? pack<float>(own, packed) : pack<at::BFloat16>(own, packed);
  return packed;
}

void linear_panels(const at::Tensor& x, const at::Tensor& panels, const at::Tensor& bias, at::Tensor& y,
                   Epilogue epilogue) {
  const bool rows = (x.stride(1) == 1 || x.size(1) == 1) && x.stride(0) >= x.size(1);
  const at::Tensor own = rows ? x : x.contiguous();
  const bool gelu = epilogue == Epilogue::gelu_tanh;
  if (x.scalar_type() == at::kFloat) return multiply<float, float>(own, panels, bias, y, gelu);
  if (y.scalar_type() == at::kFloat) return multiply<at::BFloat16, float>(own, panels, bias, y, gelu);
  multiply<at::BFloat16, at::BFloat16>(own, panels, bias, y, gelu);
}

}  // namespace rushes
