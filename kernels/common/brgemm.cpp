#include "kernels/common/brgemm.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/lower.h"

namespace rushes {
namespace {

namespace blas = at::native::cpublas;

/// The best instructions that oneDNN may use, as it reads them; "" where all may be.
std::string isa_limit() {
  const std::string most = env(EnvVar::onednn_max_isa);
  return lower(most.empty() ? env(EnvVar::dnnl_max_isa) : most);
}

/// Whether ATen hands a float32 product to MKL without a word, whose rows are not one chain each.
bool falls_back() {
#if defined(__x86_64__)
  const std::string most = isa_limit();
  return __builtin_cpu_supports("avx2") == 0 || !at::globalContext().userEnabledMkldnn() || most == "sse41" ||
         most == "avx";
#else
  return true;
#endif
}

/// Whether bfloat16 is multiplied faster than float32: by AMX, or by AMD's processors, which take twice as
/// many numbers at once. Intel's AVX-512 takes twice as many in four times the time.
bool bfloat16_is_fast() {
#if defined(__x86_64__)
  if (__builtin_cpu_is("amd") != 0) return true;
  const std::string most = isa_limit();  // words that oneDNN does not know limit nothing
  const bool limited = most.starts_with("sse") || most.starts_with("avx");
  // Asks the system for the tiles too, as oneDNN does.
  return (!limited || most.find("amx") != std::string::npos) && at::cpu::init_amx();
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

at::ScalarType product_dtype(at::ScalarType dtype) {
  if (dtype == at::kFloat) return has_brgemm(at::kFloat) ? at::kFloat : at::ScalarType::Undefined;
  if (dtype != at::kBFloat16) return at::ScalarType::Undefined;
  static const at::ScalarType best = [] {
    const bool own = has_brgemm(at::kBFloat16), wide = has_brgemm(at::kFloat);
    if (own && (!wide || bfloat16_is_fast())) return at::kBFloat16;
    return wide ? at::kFloat : at::ScalarType::Undefined;
  }();
  return best;
}

bool bfloat16_as_float() {
  return product_dtype(at::kBFloat16) == at::kFloat;
}

std::string cpu_arithmetic() {
  return at::get_cpu_capability() + (bfloat16_as_float() ? ", bfloat16 as float32" : "");
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
