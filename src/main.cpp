#include <cstring>

#include "commands/commands.h"
#include "device/blas_threads.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "run") == 0) rushes::shorten_thread_spins(argv);
  rushes::make_blas_reproducible();
  return rushes::rushes_main(argc, argv);
}
