#include "kernels/common/brgemm.h"

#include <ATen/Context.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "base/env.h"

namespace rushes {
namespace {

namespace blas = at::native::cpublas;

/// Whether ATen hands a float32 product to MKL without a word, whose rows are not one chain each.
bool falls_back() {
#if defined(__x86_64__)
  const std::string most = env(EnvVar::onednn_max_isa);
  return __builtin_cpu_supports("avx2") == 0 || !at::globalContext().userEnabledMkldnn() || most == "SSE41" ||
         most == "AVX";
#else
  return true;
#endif
}

// Multiples of six, the rows that the micro-kernel keeps in registers beside 64 columns: 4 rows left over
// take as long as six.
template <class Call>
void for_heights(int64_t rows, const Call& call) {
  int64_t height = 192;
  for (int64_t row = 0; row < rows; row += height) {
    while (height > 12 && height > rows - row)
      height /= 2;
    height = std::min(height, rows - row);
    call(row, height);
  }
}

/// A small product of whole numbers comes out right.
template <class T>
bool works() {
  constexpr int64_t kM = 3, kN = 16, kK = 4;
  std::vector<T> a(kM * kK), b(kK * kN);
  std::vector<float> c(kM * kN, -1.0f);
  for (int64_t i = 0; i < kM * kK; ++i)
    a[static_cast<size_t>(i)] = static_cast<T>(static_cast<float>(i));
  for (int64_t k = 0; k < kK; ++k) {
    for (int64_t n = 0; n < kN; ++n) {
      const int64_t at = sizeof(T) == 2 ? (k / 2 * kN + n) * 2 + k % 2 : k * kN + n;
      b[static_cast<size_t>(at)] = static_cast<T>(static_cast<float>(n - k));
    }
  }
  try {
    const BrgemmTurn turn(c10::CppTypeToScalarType<T>::value);
    brgemm(kM, kN, kK, a.data(), kK, b.data(), kN, c.data(), kN, /*add=*/false);
    brgemm(kM, kN, kK, a.data(), kK, b.data(), kN, c.data(), kN, /*add=*/true);
  } catch (const std::exception&) {
    return false;  // ATen: "only supported on ..."; oneDNN: "could not generate a kernel"
  }
  for (int64_t m = 0; m < kM; ++m) {
    for (int64_t n = 0; n < kN; ++n) {
      int64_t want = 0;
      for (int64_t k = 0; k < kK; ++k)
        want += 2 * (m * kK + k) * (n - k);
      if (c[static_cast<size_t>(m * kN + n)] != static_cast<float>(want)) return false;
    }
  }
  return true;
}

}  // namespace

bool has_brgemm(at::ScalarType dtype) {
  if (dtype == at::kFloat) {
    static const bool runs = !falls_back() && works<float>();
    return runs;
  }
  if (dtype == at::kBFloat16) {
    static const bool runs = works<at::BFloat16>();
    return runs;
  }
  return false;
}

void brgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add) {
  for_heights(m, [&](int64_t row, int64_t height) {
    blas::brgemm(height, n, k, a_stride, b_stride, c_stride, add, a + row * a_stride, b, c + row * c_stride,
                 /*is_vnni=*/false);
  });
}

void brgemm(int64_t m, int64_t n, int64_t k, const at::BFloat16* a, int64_t a_stride, const at::BFloat16* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add) {
  for_heights(m, [&](int64_t row, int64_t height) {
    blas::brgemm(height, n, k, a_stride, b_stride, c_stride, add, a + row * a_stride, b, c + row * c_stride,
                 /*is_vnni=*/true);
  });
}

BrgemmTurn::~BrgemmTurn() {
  blas::brgemm_release(/*is_vnni=*/dtype_ != at::kFloat);
}

}  // namespace rushes
