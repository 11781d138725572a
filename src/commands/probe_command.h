#pragma once
// rushes probe: one component on given tensors (see probe/probe.h).

namespace rushes {

/// argv[0] is "probe". Returns the exit code: 0, 2 (wrong input), 1 (a bug).
int probe_command(int argc, char** argv);

}  // namespace rushes
