#pragma once
// rushes bless: an output folder's clips become the references (see jobs/regress.h).

namespace rushes {

/// argv[0] is "bless". Returns the exit code: 0, 2 (clips not made, wrong options).
int bless_command(int argc, char** argv);

}  // namespace rushes
