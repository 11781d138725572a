#include "device/blas_threads.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/env.h"

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

void shorten_thread_spins(char** argv) {
  if (!env(EnvVar::gomp_spincount).empty() || !env(EnvVar::omp_wait_policy).empty()) return;
  // By its own path, so that process lists show its name.
  char path[4096] = {};
  if (::readlink("/proc/self/exe", path, sizeof path - 1) <= 0) return;
  const auto name = [](const std::string& file) { return file.substr(file.rfind('/') + 1); };
  if (name(path) != name(argv[0])) return;  // started through a loader
  if (::setenv("GOMP_SPINCOUNT", "1000", /*overwrite=*/1) == 0) ::execv(path, argv);
}

SingleThreadBlas::SingleThreadBlas() : before_(set_local(1)) {}

SingleThreadBlas::~SingleThreadBlas() {
  set_local(before_);
}

void keep_blas_single_threaded() {
  set_local(1);
  // As many pieces of work as threads, of one unit each: every thread of the pool gets one.
  const int64_t threads = at::get_num_threads();
  at::parallel_for(0, threads, 1, [](int64_t, int64_t) { set_local(1); });
}

}  // namespace rushes
