#include "commands/commands.h"

namespace rushes {

int run_command(int, char**) { return 2; }

}  // namespace rushes
