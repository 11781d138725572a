#pragma once
// What every transport must do, as one function that all ranks of a group call.

#include <string>

#include "dist/comm.h"

namespace rushes::test {

/// "" where all collectives give what they promise, else the first that does not.
std::string check_collectives(const Comm& comm, at::Device device = at::kCPU);

}  // namespace rushes::test
