#pragma once
// The World of processes that mpirun or srun (with PMIx) started.

#include <memory>

#include "dist/world.h"

namespace rushes {

/// Was this process started by an MPI launcher that can wire it up? Only then is MPI touched: a lone process
/// starts without it, and srun without PMI is N worlds of one.
bool started_by_mpi();

/// Calls MPI_Init_thread. When the World goes, so does MPI: by MPI_Finalize, or, where an exception is on its
/// way out, not at all (the others would wait in it for ever).
std::unique_ptr<World> make_mpi_world();

/// The library's own words on its version, for doctor; does not start MPI.
std::string mpi_version();

/// The right one of make_mpi_world and make_single_world.
std::unique_ptr<World> make_world();

}  // namespace rushes
