#pragma once
// Measures what the planner must know of a device: rates of the program's own layers, memory, overheads.

#include <c10/core/Device.h>

#include <map>
#include <string>

#include "config/settings.h"
#include "dist/comm.h"

namespace rushes {

/// Operations a second that each kind of layer reached, the best of several times.
struct MeasuredRates {
  double peak = 0;  // a 2048 x 2048 x 2048 product by `linear`
  double matmul = 0, attention = 0, convolution = 0;
};

struct Measured {
  std::map<Dtype, MeasuredRates> rates;
  double memory_bytes_per_second = 0;     // read and written by a norm over more than the caches hold
  double call_seconds = 0;                // one operation on next to nothing
  double step_seconds = 0;                // a scheduler's step on next to nothing, beyond its operations
  double runtime_bytes = 0;               // held before anything large
  double host_load_bytes_per_second = 0;  // host memory to the device
};

struct MeasuredLink {
  double bytes_per_second = 0;
  double latency_seconds = 0;
};

/// A minute's work at most. `device`: the CPU with the threads that are set, or a GPU.
Measured calibrate(at::Device device);

/// Collective: what one rank sends the others a second, and how long next to nothing takes.
MeasuredLink measure_link(const Comm& comm);
/// Between two threads of this process, through its memory.
MeasuredLink measure_thread_link();

}  // namespace rushes
