#pragma once
// rushes compare: an output folder beside its references (see jobs/regress.h).

namespace rushes {

/// argv[0] is "compare". Returns the exit code: 0, 2 (nothing to compare), 3 (a clip did not pass).
int compare_command(int argc, char** argv);

}  // namespace rushes
