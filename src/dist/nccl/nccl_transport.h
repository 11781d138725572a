#pragma once
// Comm over NCCL, for tensors on GPUs, one a rank. Lies in librushes_cuda.so (device/cuda_library.h): null
// where that is not loaded, or was built without NCCL.

#include <memory>

#include "device/cuda_part.h"
#include "dist/comm.h"

namespace rushes {

/// The ranks of `host`, each with the GPU `device`, no two with the same one. `host` carries NCCL's
/// handshake, here and for subgroups. Nothing waits on the host: an exchange is queued on a stream of its
/// own, behind what the caller's current stream held, and wait() makes that stream wait. A thread looks after
/// exchanges that do not end in `watch`'s time: it says which, and ends the process with kExitStopped.
RUSHES_CUDA_PART std::unique_ptr<Transport> make_nccl_transport(const Comm& host, at::Device device,
                                                                std::shared_ptr<CommWatch> watch);

}  // namespace rushes
