#pragma once

namespace rushes {

/// `rushes submit JOB [--print]`: shows the plan, writes the sbatch script and submits it.
int submit_command(int argc, char** argv);

}  // namespace rushes
