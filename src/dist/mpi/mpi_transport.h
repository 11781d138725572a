#pragma once
// Comm over MPI, for tensors in host memory; those on a GPU pass through it, which is slow but needs no NCCL
// and lets ranks share a GPU. Every call is made on the thread that made the World.

#include <memory>

#include "dist/transport.h"

namespace rushes {

/// All processes of the world, in the order of their ranks; MPI must have been started (mpi_world.h).
std::unique_ptr<Transport> make_mpi_transport(std::shared_ptr<CommWatch> watch);

}  // namespace rushes
