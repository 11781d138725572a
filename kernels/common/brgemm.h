#pragma once
// C[m, n] (+)= A[m, k] B[k, n], small and on the calling thread: oneDNN's micro-kernel ("brgemm") as ATen
// exports it (ATen/native/CPUBlas.h). It is what oneDNN's own products and convolutions are made of, for
// AVX2, AVX-512 and AMX; on AMD processors it is twice as fast as MKL, which uses half their vectors.
//
// An element of C is one chain of multiply-adds along k, whatever m and n are, so tiles of C may be cut
// anywhere without changing a bit.

#include <ATen/ATen.h>

namespace rushes {

/// Whether it runs here: float32 and bfloat16, x86 with AVX2 or (bfloat16) AVX-512. Tried once.
bool has_brgemm(at::ScalarType dtype);

/// Row-major, strides in elements: A's rows lie `a` apart, B's `b`, C's `c`. `add`: C += instead of C =. In
/// bfloat16 two rows of B are interleaved, [k / 2, n, 2], `b` still counts one of them, and k is even.
void brgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add);
void brgemm(int64_t m, int64_t n, int64_t k, const at::BFloat16* a, int64_t a_stride, const at::BFloat16* b,
            int64_t b_stride, float* c, int64_t c_stride, bool add);

/// After a thread's last call in a row: gives AMX tiles back to the processor.
void brgemm_done(at::ScalarType dtype);

}  // namespace rushes
