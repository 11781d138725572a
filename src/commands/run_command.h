#pragma once
// rushes run: makes a job's clips (see jobs/run_job.h). And what other commands that run a job share with it.

#include <functional>
#include <string>

#include "base/stop.h"
#include "jobs/run_job.h"

namespace rushes {

/// argv[0] is "run". Collective where an MPI launcher started the process. Returns the exit code.
int run_command(int argc, char** argv);

/// Makes the world and runs what `read_request` gives on every rank; what is wrong with the command line is
/// said once. Returns the exit code.
int run_in_world(const std::string& command, const std::function<RunRequest()>& read_request,
                 StopToken& stop);

bool asks_for_help(int argc, char** argv);
/// Of the ranks that a launcher started, before there is a world.
bool is_first_started();

}  // namespace rushes
