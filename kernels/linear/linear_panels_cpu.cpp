#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <type_traits>

#include "kernels/common/aligned_memory.h"
#include "kernels/common/brgemm.h"
#include "kernels/common/cpu.h"
#include "kernels/common/tiles.h"
#include "kernels/common/widen.h"
#include "kernels/linear/linear_panels.h"

namespace rushes {
namespace {

constexpr int64_t kPanel = 64;  // four registers of 16 floats: the widest block the micro-kernel keeps
// 192 rows are 32 times what the micro-kernel keeps in registers, so that reading a panel costs little; with
// 4 panels they are a millisecond of work at the widths of real models.
constexpr int64_t kRows = 192;
constexpr int64_t kGroup = 4;
constexpr int64_t kDepth = 2048;     // of x and panel at a time: 512 KiB of panel, half of a core's own cache
constexpr int64_t kWideDepth = 512;  // where both are widened first: 384 and 128 KiB in the same cache
// Sums are finished while the nearest cache has them: 48 rows of a panel are 12 KiB.
constexpr int64_t kFinished = 48;
// Below this many multiplications waking another thread costs more than it saves (some 20 microseconds).
constexpr int64_t kSerial = int64_t{1} << 21;

struct Problem {
  int64_t rows, in, out, x_stride;
  int64_t panels;
  int64_t depth = kDepth;                     // of a step
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

/// A first operand: rows `stride` apart.
template <class P>
struct Left {
  const P* data = nullptr;
  int64_t stride = 0;
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

/// A thread's own memory; null what is not needed.
struct Scratch {
  AlignedMemory<float> sums;      // of a tile, [panels, rows, 64]; else they are made in y
  AlignedMemory<float> x, panel;  // widened: [rows, depth], [depth, 64]
};

/// One tile of rows by a group of panels. P: what is multiplied, T or (of bfloat16) float.
template <class T, class Y, class P>
void run_tile(const Problem& p, const Operands<T, Y>& o, int64_t row, int64_t first_panel,
              const Scratch& scratch) {
  const int64_t rows = std::min(p.tile_rows, p.rows - row);
  const int64_t last_panel = std::min(p.panels, first_panel + p.group);
  const auto sums_of = [&](int64_t panel) {
    if constexpr (sizeof(Y) == 4) {
      if (!scratch.sums) return o.y + row * p.out + panel * kPanel;
    }
    return scratch.sums.get() + (panel - first_panel) * p.tile_rows * kPanel;
  };
  const int64_t stride = scratch.sums ? kPanel : p.out;
  for (int64_t k = 0; k < p.in; k += p.depth) {
    const int64_t depth = std::min(p.depth, p.in - k);
    const bool finishes = scratch.sums && k + depth == p.in;
    const int64_t step = finishes ? kFinished : rows;
    const T* from = o.x + row * p.x_stride + k;
    Left<P> x = {};
    if constexpr (std::is_same_v<P, T>) {
      x = {from, p.x_stride};
    } else {
      widen_rows(from, p.x_stride, rows, depth, scratch.x.get());
      x = {scratch.x.get(), depth};
    }
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      const int64_t column = panel * kPanel, columns = std::min(kPanel, p.out - column);
      const T* packed = o.panels + (panel * p.in + k) * kPanel;
      const P* right;
      if constexpr (std::is_same_v<P, T>) {
        right = packed;
      } else {
        widen_pairs(packed, kPanel, depth / 2, kPanel, scratch.panel.get());
        right = scratch.panel.get();
      }
      for (int64_t first = 0; first < rows; first += step) {
        const int64_t height = std::min(step, rows - first);
        float* sums = sums_of(panel) + first * stride;
        brgemm(height, columns, depth, x.data + first * x.stride, x.stride, right, kPanel, sums, stride,
               /*add=*/k > 0);
        if (finishes) finish(o, sums, stride, p.out, row + first, column, height, columns);
      }
    }
  }
}

template <class T, class Y, class P>
void multiply(Problem p, const Operands<T, Y>& o) {
  constexpr bool kWide = !std::is_same_v<P, T>;
  p.depth = even_piece(p.in, kWide ? kWideDepth : kDepth);
  const int64_t worth = std::max<int64_t>(1, p.rows * p.out * p.in / kSerial);
  p.cut_for(std::min<int64_t>(worth, at::get_num_threads()));
  const int64_t count = p.tiles(), workers = std::min({worth, count, int64_t{at::get_num_threads()}});
  // What is only a sum is made where it belongs. Otherwise sums lie together, where they are read back faster
  // than from y, whose rows lie far from each other.
  const bool in_place = sizeof(Y) == 4 && o.bias == nullptr && !o.gelu;
  // Each thread takes the next tile when it is through with one: a thread that shares its core with something
  // else makes fewer of them. Which thread makes a tile changes no bit.
  std::atomic<int64_t> next{0};
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    const BrgemmTurn turn(c10::CppTypeToScalarType<P>::value);
    const Scratch scratch{aligned_if<float>(!in_place, std::min(p.group, p.panels) * p.tile_rows * kPanel),
                          aligned_if<float>(kWide, std::min(p.tile_rows, p.rows) * p.depth),
                          aligned_if<float>(kWide, p.depth * kPanel)};
    for (int64_t index = next++; index < count; index = next++)
      run_tile<T, Y, P>(p, o, index / p.groups() * p.tile_rows, index % p.groups() * p.group, scratch);
  });
}

template <class T, class Y, class P>
void multiply(const at::Tensor& x, const at::Tensor& panels, const at::Tensor& bias, at::Tensor& y,
              bool gelu) {
  const int64_t rows = y.size(0), in = panels.size(1);
  const at::Tensor own_bias = bias.defined() ? bias.contiguous() : bias;
  multiply<T, Y, P>(
      {.rows = rows, .in = in, .out = y.size(1), .x_stride = x.stride(0), .panels = panels.size(0)},
      {.x = x.const_data_ptr<T>(),
       .panels = panels.const_data_ptr<T>(),
       .bias = bias.defined() ? own_bias.const_data_ptr<T>() : nullptr,
       .y = y.mutable_data_ptr<Y>(),
       .gelu = gelu});
}

}  // namespace

bool can_pack_panels(at::ScalarType dtype, int64_t in) {
  return product_dtype(dtype) != at::ScalarType::Undefined && (dtype == at::kFloat || in % 2 == 0);
}

at::Tensor pack_panels(const at::Tensor& weight) {
  const at::Tensor own = weight.contiguous();
  const int64_t panels = pieces(own.size(0), kPanel);
  at::Tensor packed = at::empty({panels, own.size(1), kPanel}, own.options());
  own.scalar_type() == at::kFloat ? pack<float>(own, packed) : pack<at::BFloat16>(own, packed);
  return packed;
}

void linear_panels(const at::Tensor& x, const at::Tensor& panels, const at::Tensor& bias, at::Tensor& y,
                   Epilogue epilogue, std::optional<at::ScalarType> products) {
  using at::BFloat16;
  const bool rows = (x.stride(1) == 1 || x.size(1) == 1) && x.stride(0) >= x.size(1);
  const at::Tensor own = rows ? x : x.contiguous();
  const bool gelu = epilogue == Epilogue::gelu_tanh;
  if (x.scalar_type() == at::kFloat) return multiply<float, float, float>(own, panels, bias, y, gelu);
  const bool wide = products.value_or(product_dtype(at::kBFloat16)) == at::kFloat;
  const bool unrounded = y.scalar_type() == at::kFloat;
  const auto run = [&](auto result, auto product) {
    multiply<BFloat16, decltype(result), decltype(product)>(own, panels, bias, y, gelu);
  };
  if (wide) {
    unrounded ? run(float(), float()) : run(BFloat16(), float());
  } else {
    unrounded ? run(float(), BFloat16()) : run(BFloat16(), BFloat16());
  }
}

}  // namespace rushes
