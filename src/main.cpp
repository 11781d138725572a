#include "commands/commands.h"

int main(int argc, char** argv) { return rushes::run_command(argc, argv); }
