#pragma once
// The command line: one file per subcommand (parse, call, exit code), no logic.

#include <functional>

namespace rushes {

/// Runs the subcommand named by argv[1]; returns the process's exit code (see README, "Exit codes").
int rushes_main(int argc, char** argv);

/// Runs a subcommand's body: logs a UserError's problems (or a bad command line) and gives 2, logs anything
/// else as a bug and gives 1.
int answer_errors(const char* command, const std::function<int()>& body);

}  // namespace rushes
