#pragma once
// The command line: one file per subcommand (parse, call, exit code), no logic.

namespace rushes {

/// Runs the subcommand named by argv[1]; returns the process's exit code (see README, "Exit codes").
int run_command(int argc, char** argv);

}  // namespace rushes
