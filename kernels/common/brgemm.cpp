#include "kernels/common/brgemm.h"

#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <vector>

namespace rushes {
namespace {

namespace blas = at::native::cpublas;

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
    brgemm(kM, kN, kK, a.data(), kK, b.data(), kN, c.data(), kN, /*add=*/false);
    brgemm(kM, kN, kK, a.data(), kK, b.data(), kN, c.data(), kN, /*add=*/true);
    brgemm_done(c10::CppTypeToScalarType<T>::value);
  } catch (const c10::Error&) {
    return false;  // "only supported on ..."
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
  static const bool in_float = works<float>(), in_bfloat16 = works<at::BFloat16>();
  return dtype == at::kFloat ? in_float : dtype == at::kBFloat16 && in_bfloat16;
}

void brgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add) {
  blas::brgemm(m, n, k, a_stride, b_stride, c_stride, add, a, b, c, /*is_vnni=*/false);
}

void brgemm(int64_t m, int64_t n, int64_t k, const at::BFloat16* a, int64_t a_stride, const at::BFloat16* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add) {
  blas::brgemm(m, n, k, a_stride, b_stride, c_stride, add, a, b, c, /*is_vnni=*/true);
}

void brgemm_done(at::ScalarType dtype) {
  blas::brgemm_release(/*is_vnni=*/dtype != at::kFloat);
}

}  // namespace rushes
