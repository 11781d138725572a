#pragma once
// rushes run: makes a job's clips (see jobs/run_job.h).

namespace rushes {

/// argv[0] is "run". Collective where an MPI launcher started the process. Returns the exit code.
int run_command(int argc, char** argv);

}  // namespace rushes
