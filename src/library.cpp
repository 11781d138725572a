// What main.cpp calls in librushes.so.
#include "commands/commands.h"
#include "device/kept_memory.h"

extern "C" int rushes_library_main(int argc, char** argv) {
#ifndef __SANITIZE_ADDRESS__  // which is to see every block come and go
  rushes::keep_cpu_memory();
#endif
  return rushes::rushes_main(argc, argv);
}
