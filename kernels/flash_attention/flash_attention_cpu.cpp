// A unit of work is one block of queries of one head; it goes over that head's keys in blocks. Keys and
// values are packed once before, as the micro-kernel's second operands: per block of keys K^T [dim, kKeys]
// and V [kKeys, value dim], in bfloat16 with two rows interleaved. Where bfloat16 is multiplied as float32,
// each block is widened when its turn comes, once for 192 queries.

#include "kernels/flash_attention/flash_attention_cpu.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/common/aligned_memory.h"
#include "kernels/common/brgemm.h"
#include "kernels/common/cpu.h"
#include "kernels/common/tiles.h"
#include "kernels/common/vectors.h"
#include "kernels/common/widen.h"

namespace rushes {
namespace {

// 192 x 256 scores are 192 KiB, and a block of K or V at 128 dims 128: together half of a core's own cache.
// 192 queries are one call of the micro-kernel (brgemm.cpp).
constexpr int64_t kQueries = 192;
constexpr int64_t kKeys = 256;

template <class T>
struct Problem {
  const T *q, *k, *v;  // of batch 0, token 0, head 0
  T* out;
  float* lse;  // [batch, queries, heads], or null
  int64_t batch, queries, keys, heads, dim, value_dim;
  int64_t q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head;  // strides
  int64_t blocks;                                                                        // of keys
  float scale;
  T *packed_k, *packed_v;

  int64_t k_block() const { return dim * kKeys; }
  int64_t v_block() const { return kKeys * value_dim; }
};

/// Row `k` and column `n` of a second operand of `columns` columns.
template <class T>
RUSHES_INLINE int64_t place(int64_t k, int64_t n, int64_t columns) {
  if constexpr (sizeof(T) == 2) return (k / 2 * columns + n) * 2 + k % 2;
  return k * columns + n;
}

// ---- packing

/// k [keys, dim], of this stride in bytes, to [dim, kKeys]. `width` by `width` at a time, all of as many keys
/// first: a line of either is met once.
template <int width>
RUSHES_INLINE void turn(const char* k, int64_t stride, int64_t keys, int64_t dim, float* to) {
  for (int64_t key = 0; key < keys; key += width) {
    for (int64_t d = 0; d < dim; d += width) {
      const int64_t high = std::min<int64_t>(width, keys - key), wide = std::min<int64_t>(width, dim - d);
      const char* from = k + key * stride + d * 4;
      if (high < width || wide < width) {
        for (int64_t row = 0; row < high; ++row) {
          for (int64_t column = 0; column < wide; ++column)
            std::memcpy(to + (d + column) * kKeys + key + row, from + row * stride + column * 4, 4);
        }
        continue;
      }
      Numbers<width> rows[width];
      for (int row = 0; row < width; ++row)
        load(from + row * stride, rows[row]);
      transpose<width>(rows);
      for (int row = 0; row < width; ++row)
        store(rows[row], to + (d + row) * kKeys + key);
    }
  }
}

template <class T>
struct PackBlock {
  template <int width>
  struct Of {
    RUSHES_INLINE static void run(const Problem<T>* p, int64_t head, int64_t block) {
      const int64_t first = block * kKeys, count = std::min(kKeys, p->keys - first);
      const T* k = p->k + head / p->heads * p->k_batch + head % p->heads * p->k_head + first * p->k_token;
      const T* v = p->v + head / p->heads * p->v_batch + head % p->heads * p->v_head + first * p->v_token;
      T* to_k = p->packed_k + (head * p->blocks + block) * p->k_block();
      T* to_v = p->packed_v + (head * p->blocks + block) * p->v_block();
      // In units of 32 bits, which are a number or two neighbours that stay beside each other.
      constexpr int64_t kSize = sizeof(T);
      turn<width>(reinterpret_cast<const char*>(k), p->k_token * kSize, count, p->dim * kSize / 4,
                  reinterpret_cast<float*>(to_k));
      for (int64_t key = 0; key < count; ++key) {
        for (int64_t e = 0; e < p->value_dim; ++e)
          to_v[place<T>(key, e, p->value_dim)] = v[key * p->v_token + e];
      }
      // The weights of one key more are zeros, and so must these be.
      if (sizeof(T) == 2 && count % 2 == 1) {
        for (int64_t e = 0; e < p->value_dim; ++e)
          to_v[place<T>(count, e, p->value_dim)] = T(0.0f);
      }
    }
  };
};

// ---- softmax

constexpr float kNothing = -std::numeric_limits<float>::infinity();
// Partial sums of a row's weights, added up after the last key.
constexpr int64_t kSums = 16;
// Queries at a time: their scores are in the nearest cache from the first pass to the second.
constexpr int64_t kRows = 16;
static_assert(kKeys % kLanes == 0 && kLanes == 4 * kSums);

/// What a block of queries remembers from one block of keys to the next.
struct Running {
  float max[kQueries];          // of the scores so far
  float sums[kQueries][kSums];  // of the weights so far
  float rescale[kQueries];      // of the result so far: its weights were made with a smaller maximum
};

/// The largest of scores [count], a multiple of kLanes, and of `before`. NaNs are none.
template <int width>
RUSHES_INLINE float largest(const float* scores, int64_t count, float before) {
  constexpr int kTogether = 4;  // registers, so that none waits for the one before
  Numbers<width> most[kTogether], s;
  for (auto& each : most)
    each = Numbers<width>{} + before;
  for (int64_t i = 0; i < count; i += kTogether * width) {
    for (int j = 0; j < kTogether; ++j) {
      load(scores + i + j * width, s);
      greater_of(s, most[j], most[j]);
    }
  }
  for (int j = 1; j < kTogether; ++j)
    greater_of(most[j], most[0], most[0]);
  return greatest<width>(most[0]);
}

/// A row's weights 2^((score - max) factor), and their partial sums [kSums] added to those before.
template <int width, class P>
RUSHES_INLINE void weigh(const float* scores, P* weights, int64_t count, float max, float factor,
                         float rescale, float* before) {
  constexpr int kTogether = 4, kRegisters = kLanes / width, kQuarter = kSums / width;
  const Numbers<width> least = Numbers<width>{} - 125.0f;  // lower ones weigh as much; a NaN is not lower
  Numbers<width> sums[kRegisters] = {}, x[kTogether];
  for (int64_t i = 0; i < count; i += kLanes) {
    for (int first = 0; first < kRegisters; first += kTogether) {
      for (int j = 0; j < kTogether; ++j) {
        load(scores + i + (first + j) * width, x[j]);
        x[j] = (x[j] - max) * factor;
        greater_of(least, x[j], x[j]);
      }
      exp2_of_negative<width>(x);
      for (int j = 0; j < kTogether; ++j) {
        sums[first + j] += x[j];
        store(x[j], weights + i + (first + j) * width);
      }
    }
  }
  for (int j = 0; j < kQuarter; ++j) {
    load(before + j * width, x[0]);
    x[0] =
        x[0] * rescale + ((sums[j] + sums[j + kQuarter]) + (sums[j + 2 * kQuarter] + sums[j + 3 * kQuarter]));
    store(x[0], before + j * width);
  }
}

/// 2^x of each: how much smaller the weights before a larger maximum are now.
template <int width>
RUSHES_INLINE void exp2_of_rows(float (&x)[kRows]) {
  Numbers<width> numbers[1];
  for (int64_t i = 0; i < kRows; i += width) {
    load(x + i, numbers[0]);
    exp2_of_negative<width>(numbers);
    store(numbers[0], x + i);
  }
}

/// Scores [rows, kKeys] to weights, written over them or (bfloat16) to `weights`. `factor`: scale / ln 2.
/// Scores behind `keys` are written to. Of a row whose scores are all -infinity only `max` is right.
template <class P>
struct Softmax {
  template <int width>
  struct Of {
    RUSHES_INLINE static void run(float* scores, P* weights, int64_t rows, int64_t keys, float factor,
                                  Running* running) {
      for (int64_t first = 0; first < rows; first += kRows)
        some_rows<width>(scores + first * kKeys, weights + first * kKeys, first,
                         std::min(kRows, rows - first), keys, factor, *running);
    }
  };

  template <int width>
  RUSHES_INLINE static void some_rows(float* scores, P* weights, int64_t first, int64_t rows, int64_t keys,
                                      float factor, Running& running) {
    const int64_t padded = pieces(keys, kLanes) * kLanes;
    float max[kRows], rescale[kRows] = {};
    for (int64_t r = 0; r < rows; ++r) {
      float* s = scores + r * kKeys;
      for (int64_t i = keys; i < padded; ++i)
        s[i] = kNothing;
      const float before = running.max[first + r], most = largest<width>(s, padded, before);
      running.max[first + r] = most;
      // While all scores are -infinity, which no difference can be taken from, anything will do in its place.
      max[r] = most == kNothing ? 0.0f : most;
      rescale[r] = std::max(-125.0f, (before - max[r]) * factor);
    }
    exp2_of_rows<width>(rescale);
    for (int64_t r = 0; r < rows; ++r) {
      running.rescale[first + r] = rescale[r];
      weigh<width>(scores + r * kKeys, weights + r * kKeys, padded, max[r], factor, rescale[r],
                   running.sums[first + r]);
      if (sizeof(P) == 2 && keys % 2 == 1) weights[r * kKeys + keys] = P(0.0f);
    }
  }
};

/// The partial sums' sum, always in the same order.
float sum_of(const float* sums) {
  float lanes[kSums];
  std::copy_n(sums, kSums, lanes);
  for (int64_t width = kSums / 2; width > 0; width /= 2) {
    for (int64_t j = 0; j < width; ++j)
      lanes[j] += lanes[j + width];
  }
  return lanes[0];
}

struct Rescale {
  RUSHES_INLINE static void run(float* result, int64_t rows, int64_t dim, const float* factor) {
    for (int64_t row = 0; row < rows; ++row) {
      if (factor[row] == 1.0f) continue;
      for (int64_t e = 0; e < dim; ++e)
        result[row * dim + e] *= factor[row];
    }
  }
};

template <class T>
struct Finish {
  RUSHES_INLINE static void run(const float* result, int64_t rows, int64_t dim, const float* sum, T* out,
                                int64_t out_stride) {
    for (int64_t row = 0; row < rows; ++row) {
      const float factor = 1.0f / sum[row];
#pragma GCC ivdep
      for (int64_t e = 0; e < dim; ++e)
        out[row * out_stride + e] = from_float<T>(result[row * dim + e] * factor);
    }
  }
};

// ---- a block of queries

/// A thread's own memory. P: what is multiplied, T or (of bfloat16) float.
template <class T, class P>
struct Scratch {
  static constexpr bool kWide = !std::is_same_v<P, T>;
  explicit Scratch(const Problem<T>& p)
      : scores(kQueries * kKeys),
        result(kQueries * p.value_dim),
        rounded(aligned_if<P>(sizeof(P) == 2, kQueries * kKeys)),
        q(aligned_if<float>(kWide, kQueries * p.dim)),
        k(aligned_if<float>(kWide, p.k_block())),
        v(aligned_if<float>(kWide, p.v_block())) {}

  P* weights() {
    if constexpr (sizeof(P) == 2)
      return rounded.get();
    else
      return scores.get();
  }

  AlignedMemory<float> scores, result;
  AlignedMemory<P> rounded;      // weights; or null: they are written over the scores
  AlignedMemory<float> q, k, v;  // a block of each, widened; or null
  Running running;
};

template <class T, class P>
void run_queries(const Problem<T>& p, int64_t head, int64_t first, Scratch<T, P>& scratch) {
  constexpr bool kWide = Scratch<T, P>::kWide;
  const CpuLevel level = cpu_level();
  const int64_t rows = std::min(kQueries, p.queries - first), batch = head / p.heads, h = head % p.heads;
  const T* first_q = p.q + batch * p.q_batch + h * p.q_head + first * p.q_token;
  const P* q;
  int64_t q_stride = p.q_token;
  if constexpr (kWide) {
    widen_rows(first_q, p.q_token, rows, p.dim, scratch.q.get());
    q = scratch.q.get();
    q_stride = p.dim;
  } else {
    q = first_q;
  }
  Running& running = scratch.running;
  std::fill_n(running.max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(running.sums[0], rows * kSums, 0.0f);
  const float factor = p.scale * 1.44269504f;
  for (int64_t block = 0; block < p.blocks; ++block) {
    const int64_t keys = std::min(kKeys, p.keys - block * kKeys);
    const T* packed_k = p.packed_k + (head * p.blocks + block) * p.k_block();
    const T* packed_v = p.packed_v + (head * p.blocks + block) * p.v_block();
    const P *k, *v;
    if constexpr (kWide) {
      widen_pairs(packed_k, kKeys, p.dim / 2, keys, scratch.k.get());
      widen_pairs(packed_v, p.value_dim, pieces(keys, 2), p.value_dim, scratch.v.get());
      k = scratch.k.get();
      v = scratch.v.get();
    } else {
      k = packed_k;
      v = packed_v;
    }
    brgemm(rows, keys, p.dim, q, q_stride, k, kKeys, scratch.scores.get(), kKeys, /*add=*/false);
    run_widest<Softmax<P>::template Of>(level, scratch.scores.get(), scratch.weights(), rows, keys, factor,
                                        &running);
    if (block > 0)
      run_best<Rescale>(level, scratch.result.get(), rows, p.value_dim,
                        static_cast<const float*>(running.rescale));
    const int64_t depth = sizeof(P) == 2 ? pieces(keys, 2) * 2 : keys;
    brgemm(rows, p.value_dim, depth, static_cast<const P*>(scratch.weights()), kKeys, v, p.value_dim,
           scratch.result.get(), p.value_dim, /*add=*/block > 0);
  }
  float sum[kQueries];
  for (int64_t row = 0; row < rows; ++row)
    sum[row] = sum_of(running.sums[row]);
  run_best<Finish<T>>(level, static_cast<const float*>(scratch.result.get()), rows, p.value_dim,
                      static_cast<const float*>(sum),
                      p.out + ((batch * p.queries + first) * p.heads + h) * p.value_dim,
                      p.heads * p.value_dim);
  if (p.lse == nullptr) return;
  for (int64_t row = 0; row < rows; ++row)
    p.lse[(batch * p.queries + first + row) * p.heads + h] = running.max[row] * p.scale + std::log(sum[row]);
}

template <class T, class P>
void run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, float scale, at::Tensor& out,
         const at::Tensor& lse) {
  Problem<T> p{.q = q.const_data_ptr<T>(),
               .k = k.const_data_ptr<T>(),
               .v = v.const_data_ptr<T>(),
               .out = out.mutable_data_ptr<T>(),
               .lse = lse.defined() ? lse.mutable_data_ptr<float>() : nullptr,
               .batch = q.size(0),
               .queries = q.size(1),
               .keys = k.size(1),
               .heads = q.size(2),
               .dim = q.size(3),
               .value_dim = v.size(3),
               .q_batch = q.stride(0),
               .q_token = q.stride(1),
               .q_head = q.stride(2),
               .k_batch = k.stride(0),
               .k_token = k.stride(1),
               .k_head = k.stride(2),
               .v_batch = v.stride(0),
               .v_token = v.stride(1),
               .v_head = v.stride(2),
               .blocks = pieces(k.size(1), kKeys),
               .scale = scale,
               .packed_k = nullptr,
               .packed_v = nullptr};
  const int64_t heads = p.batch * p.heads;
  at::Tensor packed_k = at::empty({heads * p.blocks * p.k_block()}, k.options());
  at::Tensor packed_v = at::empty({heads * p.blocks * p.v_block()}, v.options());
  p.packed_k = packed_k.mutable_data_ptr<T>();
  p.packed_v = packed_v.mutable_data_ptr<T>();
  at::parallel_for(0, heads * p.blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      run_widest<PackBlock<T>::template Of>(cpu_level(), &p, i / p.blocks, i % p.blocks);
  });
  // Each thread takes the next block when it is through with one. Which thread makes it changes no bit.
  const int64_t blocks = pieces(p.queries, kQueries), count = heads * blocks;
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    const BrgemmTurn turn(c10::CppTypeToScalarType<P>::value);
    Scratch<T, P> scratch(p);
    for (int64_t i = next++; i < count; i = next++)
      run_queries(p, i / blocks, i % blocks * kQueries, scratch);
  });
}

}  // namespace

void flash_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, float scale,
                         at::Tensor& out, const at::Tensor& lse, std::optional<at::ScalarType> products) {
  using at::BFloat16;
  if (q.scalar_type() == at::kFloat) return run<float, float>(q, k, v, scale, out, lse);
  const bool wide = products.value_or(product_dtype(at::kBFloat16)) == at::kFloat;
  wide ? run<BFloat16, float>(q, k, v, scale, out, lse) : run<BFloat16, BFloat16>(q, k, v, scale, out, lse);
}

}  // namespace rushes
