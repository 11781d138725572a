#include "device/blas_threads.h"

#include <ATen/Parallel.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <cstdlib>

// Exported by libtorch_cpu where it has MKL (Intel oneMKL reference, "mkl_set_num_threads_local": gives the
// number before; 0 means the global setting).
extern "C" __attribute__((weak)) int MKL_Set_Num_Threads_Local(int count);

namespace rushes {
namespace {

int set_local(int count) {
  return MKL_Set_Num_Threads_Local == nullptr ? 0 : MKL_Set_Num_Threads_Local(count);
}

}  // namespace

void make_blas_reproducible() {
  // "Conditional numerical reproducibility" in Intel's reference; the one variable that is written, not read.
  ::setenv("MKL_CBWR", "AUTO,STRICT", /*overwrite=*/0);
}

SingleThreadBlas::SingleThreadBlas() : before_(set_local(1)) {
#ifdef _OPENMP
  openmp_before_ = omp_get_max_threads();
  omp_set_num_threads(1);
#endif
}

SingleThreadBlas::~SingleThreadBlas() {
  set_local(before_);
#ifdef _OPENMP
  omp_set_num_threads(openmp_before_);
#endif
}

void keep_blas_single_threaded() {
  set_local(1);
  // As many pieces of work as threads, of one unit each: every thread of the pool gets one.
  const int64_t threads = at::get_num_threads();
  at::parallel_for(0, threads, 1, [](int64_t, int64_t) { set_local(1); });
}

}  // namespace rushes
