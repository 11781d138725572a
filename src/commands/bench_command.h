#pragma once

namespace rushes {

/// `rushes bench ...`: times one component.
int bench_command(int argc, char** argv);

}  // namespace rushes
