#pragma once
// The command line: one file per subcommand (parse, call, exit code), no logic.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/settings.h"

namespace rushes {

/// Runs the subcommand named by argv[1]; returns the process's exit code (see README, "Exit codes").
int rushes_main(int argc, char** argv);

/// Runs a subcommand's body: logs a UserError's problems (or a bad command line) and gives 2, logs anything
/// else as a bug and gives 1.
int answer_errors(const char* command, const std::function<int()>& body);

/// An option's value as a whole number, or what is wrong with it, with the option's name (cxxopts' own reader
/// leaves that out).
std::optional<int64_t> whole_number(const std::string& text, const char* option, Problems& problems);
/// The value of --min-ssim, from -1 to 1, or what is wrong with it.
std::optional<double> ssim_option(const std::string& text, Problems& problems);
/// The value of --dtype, or what is wrong with it.
std::optional<Dtype> dtype_option(const std::string& text, Problems& problems);

/// Throws UserError where words are left that the command has no use for.
void refuse_words(const std::vector<std::string>& words, const char* command);

}  // namespace rushes
