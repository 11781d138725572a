#pragma once
// Which build this is: kept in item records, and in the key of everything cached that a build can change.

#include <string>

namespace rushes {

/// "0.1.0"
std::string version();
/// The git commit the sources were at when built, "-dirty" behind it where they differed; "unknown" outside
/// git.
std::string build_commit();
/// What tells this build from every other: the commit; where the sources were not as committed, with a hash
/// of the program's own code.
std::string build_identity();
/// "0.1.0 (1a2b3c4d)"
std::string version_text();

}  // namespace rushes
