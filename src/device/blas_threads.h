#pragma once
// MKL, which LibTorch multiplies float32 matrices with on x86, chooses its blocking, and so the last bits, by
// the number of threads it may use and by how its operands lie in memory. Rushes asks for its strict
// reproducible mode, keeps it to one thread a call and shares work out itself (kernels/linear), so that
// results do not depend on how many threads a rank has. (The mode cost nothing measurable on a Zen 5 core:
// 103 to 109 GFLOP/s with and without it.)

namespace rushes {

/// Asks for the strict mode, unless MKL_CBWR is set already, as main.cpp does for the program. Before the
/// process's first matrix product: MKL reads the variable once.
void make_blas_reproducible();

/// While it lives, products of this thread use one thread: MKL's, and oneDNN's, which goes by OpenMP's
/// number.
class SingleThreadBlas {
 public:
  SingleThreadBlas();
  ~SingleThreadBlas();
  SingleThreadBlas(const SingleThreadBlas&) = delete;
  SingleThreadBlas& operator=(const SingleThreadBlas&) = delete;

 private:
  int before_;
  [[maybe_unused]] int openmp_before_ = 0;  // clang builds have no OpenMP
};

/// The same for good, for the calling thread and each thread of its ATen pool.
void keep_blas_single_threaded();

}  // namespace rushes
