#include "commands/commands.h"

int main(int argc, char** argv) {
  return rushes::rushes_main(argc, argv);
}
