// The program that is started: small, so that what the libraries read when they are loaded can be set before,
// and so that only machines with a GPU load CUDA's. All else is librushes.so (src/library.cpp).
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

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

/// The driver's own library. (Its device files may come into being only when that is first used.)
bool has_nvidia_driver() {
  return ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
}

/// A library beside this program, or in ../lib of a bundle (tools/bundle), global: by its whole path, which
/// no search path of the environment changes.
void* open_beside(const std::string& name) {
  char path[4096] = {};
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  const std::string program(path, length > 0 ? static_cast<size_t>(length) : 0);
  const std::string folder = program.substr(0, program.rfind('/') + 1);
  const std::string beside = folder + name, bundled = folder + "../lib/" + name;
  const bool in_bundle = ::access(beside.c_str(), F_OK) != 0 && ::access(bundled.c_str(), F_OK) == 0;
  return ::dlopen((in_bundle ? bundled : beside).c_str(), RTLD_NOW | RTLD_GLOBAL);
}

/// One line of what is missing and what to do. MPI is the one library that is the machine's own: it has to
/// know the network and the launcher.
void tell_why(const std::string& error) {
  const bool mpi = error.find("libmpi") != std::string::npos ||
                   error.find("symbol: MPI_") != std::string::npos ||
                   error.find("libopen-") != std::string::npos;
  std::fprintf(
      stderr, "rushes: %s; %s\n", error.c_str(),
      mpi ? "rushes needs this machine's Open MPI, version 4 or 5 (libmpi.so.40): load its module, or name "
            "its lib folder in LD_LIBRARY_PATH"
          : "librushes.so should lie beside this program, as tools/setup builds it, or in ../lib, as "
            "tools/bundle packs it");
}

}  // namespace

int main(int argc, char** argv) {
  prepare_environment();
  // Its kernels are weak references of librushes.so, bound when that is loaded: so this one comes first.
  if (RUSHES_WITH_CUDA && has_nvidia_driver() && open_beside("librushes_cuda.so") == nullptr)
    std::fprintf(stderr, "rushes: this machine's GPUs cannot be used: %s\n", ::dlerror());
  void* library = open_beside("librushes.so");
  void* start = library == nullptr ? nullptr : ::dlsym(library, "rushes_library_main");
  if (start == nullptr) {
    const char* const error = ::dlerror();
    tell_why(error == nullptr ? "librushes.so is of another version" : error);
    return kExitUsage;
  }
  return reinterpret_cast<int (*)(int, char**)>(start)(argc, argv);
}
