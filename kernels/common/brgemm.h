#pragma once
// C[m, n] (+)= A[m, k] B[k, n], small and on the calling thread: oneDNN's micro-kernel ("brgemm") as ATen
// exports it (ATen/native/CPUBlas.h). It is what oneDNN's own products and convolutions are made of, for
// AVX2, AVX-512 and AMX; on AMD processors it is twice as fast as MKL, which uses half their vectors.
//
// An element of C is one chain of multiply-adds along k, whatever m and n are, so tiles of C may be cut
// anywhere without changing a bit.

#include <ATen/ATen.h>

#include <string>

namespace rushes {

/// Whether it runs here: float32 on x86 with AVX2, bfloat16 where the processor multiplies it (and
/// ONEDNN_MAX_CPU_ISA allows that). Tried once.
bool has_brgemm(at::ScalarType dtype);

/// What numbers of `dtype` are best multiplied as here: themselves; or float32, in which a product of two
/// bfloat16 numbers is exact, where the processor multiplies no bfloat16 or does it at half of float32's rate
/// (Intel's, when not by AMX); or Undefined, where the micro-kernel takes neither.
at::ScalarType product_dtype(at::ScalarType dtype);

/// product_dtype(bfloat16) is float32.
bool bfloat16_as_float();

/// "AVX512" or "AVX512, bfloat16 as float32": what a CPU's numbers depend on but for the build.
std::string cpu_arithmetic();

/// m is cut into heights that are few, since oneDNN compiles and keeps a kernel for each it meets.
/// Row-major, strides in elements, a >= k: A's rows lie `a` apart, B's `b`, C's `c`. `add`: C += instead of C
/// =. In bfloat16 two rows of B are interleaved, [k / 2, n, 2], `b` still counts one of them, and k is even.
void brgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add);
void brgemm(int64_t m, int64_t n, int64_t k, const at::BFloat16* a, int64_t a_stride, const at::BFloat16* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add);

/// Lives around a thread's calls: at its end AMX tiles go back to the processor.
class BrgemmTurn {
 public:
  explicit BrgemmTurn(at::ScalarType dtype) : dtype_(dtype) {}
  ~BrgemmTurn();
  BrgemmTurn(const BrgemmTurn&) = delete;
  BrgemmTurn& operator=(const BrgemmTurn&) = delete;

 private:
  at::ScalarType dtype_;
};

}  // namespace rushes
