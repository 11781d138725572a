#pragma once
// rushes plan: what a job would do, without doing it.

namespace rushes {

/// argv[0] is "plan". Prints settings with their sources, layout, items and their work; loads no weights,
/// writes nothing. Returns the exit code: 0, 2 (wrong input), 1 (a bug).
int plan_command(int argc, char** argv);

}  // namespace rushes
