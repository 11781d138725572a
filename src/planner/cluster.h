#pragma once
// What the planner knows of a device and of the machines it is in: configs/clusters/<name>.yaml, or what
// `rushes bench --calibrate` measured. Plain values; nothing here looks at this machine.

#include <cstdint>
#include <string>

#include "config/settings.h"
#include "config/value.h"

namespace rushes {

/// One number for each format that a device multiplies.
struct ByDtype {
  double float32 = 0;
  double bfloat16 = 0;
  double float16 = 0;

  double of(Dtype dtype) const {
    return dtype == Dtype::float32 ? float32 : dtype == Dtype::bfloat16 ? bfloat16 : float16;
  }
};

struct Link {
  double bytes_per_second = 0;  // of one rank, one way
  double latency_seconds = 0;   // of one exchange
};

/// Figures are of one rank's device. A CPU's are of a whole node, which its ranks share evenly: see
/// `for_ranks`.
struct Cluster {
  std::string name;    // "NVIDIA H200"
  std::string source;  // the file that said so
  DeviceKind device = DeviceKind::cuda;
  int64_t ranks_per_node = 8;
  double memory_bytes = 0;
  double memory_bytes_per_second = 0;
  double runtime_bytes = 0;  // that a rank holds before any weight: libraries, contexts, workspaces
  double host_load_bytes_per_second = 0;   // weights from a node's files to its ranks
  double call_seconds = 0;                 // to start one operation, where it is not hidden behind the last
  double step_seconds = 0;                 // beside the operations of a denoising step
  ByDtype peak;                            // dense products, operations a second
  ByDtype matmul, attention, convolution;  // the fraction of the peak that each reaches
  Link node, network;                      // between two ranks of a node; of different nodes

  /// For a world of `ranks`: a CPU's figures divided by how many of them share a node.
  Cluster for_ranks(int64_t ranks) const;
};

/// Every key must be there, once, and known; UserError lists all that is wrong with file and line.
Cluster read_cluster(const Value& document, const std::string& file);
/// The same as a file. `comment`: lines that say where the figures are from.
std::string cluster_yaml(const Cluster& cluster, const std::string& comment);

}  // namespace rushes
