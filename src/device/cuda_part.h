#pragma once

/// Marks a function of librushes_cuda.so (see cuda_library.h): compare it with nullptr before the first call.
#define RUSHES_CUDA_PART __attribute__((weak))
