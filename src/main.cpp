// The program that is started: small, so that what the libraries read when they are loaded can be set before,
// and so that only machines with a GPU load CUDA's. All else is librushes.so (src/library.cpp).
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/env.h"

namespace {

constexpr int kExitUsage = 2;

void prepare_environment() {
  // MKL's blocking, and so the last bits of a product, is not to depend on threads or addresses
  // (device/blas_threads.h): "conditional numerical reproducibility" in Intel's reference.
  ::setenv("MKL_CBWR", "AUTO,STRICT", /*overwrite=*/0);
  // LibTorch's OpenMP threads (GNU libgomp) wait for work by spinning for milliseconds: beside one other busy
  // process that made a batch of small clips three times slower.
  if (rushes::env(rushes::EnvVar::gomp_spincount).empty() &&
      rushes::env(rushes::EnvVar::omp_wait_policy).empty())
    ::setenv("GOMP_SPINCOUNT", "1000", /*overwrite=*/1);
}

bool has_nvidia_driver() {
  return ::access("/dev/nvidiactl", F_OK) == 0 || ::access("/dev/dxg", F_OK) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  prepare_environment();
  // Its kernels are weak references of librushes.so, bound when that is loaded: so this one comes first.
  if (RUSHES_WITH_CUDA && has_nvidia_driver() &&
      ::dlopen("librushes_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr)
    std::fprintf(stderr, "rushes: this machine's GPUs cannot be used: %s\n", ::dlerror());
  void* library = ::dlopen("librushes.so", RTLD_NOW | RTLD_GLOBAL);
  void* start = library == nullptr ? nullptr : ::dlsym(library, "rushes_library_main");
  if (start == nullptr) {
    std::fprintf(stderr,
                 "rushes: %s\nlibrushes.so should lie beside this program, as tools/setup builds it.\n",
                 ::dlerror());
    return kExitUsage;
  }
  return reinterpret_cast<int (*)(int, char**)>(start)(argc, argv);
}
