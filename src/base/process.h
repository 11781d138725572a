#pragma once
// Other programs, run to their end.

#include <string>
#include <vector>

namespace rushes {

struct Ended {
  int code = 0;     // exit code; 128 + n where signal n ended it
  std::string out;  // standard output
  std::string err;
};

/// Runs `words[0]`, found by PATH, with the rest as its arguments (no shell) and no standard input. Throws
/// UserError where it cannot be started.
Ended run_program(const std::vector<std::string>& words);

/// Names of the environment's variables that begin so.
std::vector<std::string> environment_names(const std::string& beginning);

/// The whole path of a program of PATH, or "".
std::string find_program(const std::string& name);

/// Line breaks and tabs become spaces, other controls '?': for a comment, or a message of another program.
std::string one_line(std::string text);

/// As one word of a shell's command line: in single quotes where anything in it means something to a shell.
std::string shell_word(const std::string& text);

}  // namespace rushes
