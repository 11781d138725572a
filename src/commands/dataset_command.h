#pragma once
// rushes dataset: what an output folder's data set holds, other forms of it (see jobs/dataset.h), and a
// folder of real videos as one.

namespace rushes {

/// argv[0] is "dataset". Returns the exit code: 0, 2 (wrong input), 3 (--verify found a difference); of build
/// that of a run.
int dataset_command(int argc, char** argv);

/// argv[0] is "build". A run of job: preprocess that stands whole in the command line; every rank of a world
/// calls it.
int dataset_build_command(int argc, char** argv);

}  // namespace rushes
