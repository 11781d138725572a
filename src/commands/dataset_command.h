#pragma once
// rushes dataset: what an output folder's data set holds, and other forms of it (see jobs/dataset.h).

namespace rushes {

/// argv[0] is "dataset". Returns the exit code: 0, 2 (wrong input), 3 (--verify found a difference).
int dataset_command(int argc, char** argv);

}  // namespace rushes
