#pragma once
// Names that become files: what a list of prompts, a record or a folder from elsewhere says is text until one
// of these has passed it.

#include <string>

namespace rushes {

/// What is wrong with an id as a file name, or "". Good: 1 to 200 of A-Z a-z 0-9 . _ -, not starting with a
/// dot.
std::string id_problem(const std::string& id);

/// What is wrong with the path of a file inside a folder of ours, or "". Good: relative, and without "." and
/// "..".
std::string inner_path_problem(const std::string& path);

}  // namespace rushes
