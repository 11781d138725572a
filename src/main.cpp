#include "commands/commands.h"
#include "device/blas_threads.h"

int main(int argc, char** argv) {
  rushes::make_blas_reproducible();
  return rushes::rushes_main(argc, argv);
}
