#pragma once
// The command line: one file per subcommand (parse, call, exit code), no logic.

#include <functional>
#include <string>
#include <vector>

namespace rushes {

/// Runs the subcommand named by argv[1]; returns the process's exit code (see README, "Exit codes").
int rushes_main(int argc, char** argv);

/// Runs a subcommand's body: logs a UserError's problems (or a bad command line) and gives 2, logs anything
/// else as a bug and gives 1.
int answer_errors(const char* command, const std::function<int()>& body);

/// Throws UserError where words are left that the command has no use for.
void refuse_words(const std::vector<std::string>& words, const char* command);

}  // namespace rushes
