#pragma once
// Thread ranks for tests: the same function on each of `count` ranks of one process.

#include <functional>
#include <memory>

#include "dist/comm.h"

namespace rushes::test {

/// Runs `body` as each rank in a thread of its own, with one thread for tensors, and throws what the first of
/// them threw. The ranks share `watch`.
void run_ranks(int count, const std::function<void(const Comm& world)>& body,
               const std::shared_ptr<CommWatch>& watch = std::make_shared<CommWatch>(CommWatch{60,
                                                                                               "a test"}));

}  // namespace rushes::test
