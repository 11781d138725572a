#pragma once
// rushes weights: models of the Hugging Face Hub on this machine (see weights/hub/pull.h and cached.h).

namespace rushes {

/// argv[0] is "weights". Returns the exit code: 0, 2 (no such model, no network, damaged files).
int weights_command(int argc, char** argv);

}  // namespace rushes
