// What main.cpp calls in librushes.so.
#include "commands/commands.h"

extern "C" int rushes_library_main(int argc, char** argv) {
  return rushes::rushes_main(argc, argv);
}
