#pragma once
// rushes status: how far the runs over an output folder are (see jobs/status.h).

namespace rushes {

/// argv[0] is "status". Returns the exit code: 0, 2 (no output folder).
int status_command(int argc, char** argv);

}  // namespace rushes
