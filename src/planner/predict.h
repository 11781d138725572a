#pragma once
// From a rank's work to seconds, bytes and memory on a cluster's devices.

#include "pipelines/pipeline.h"
#include "planner/cluster.h"

namespace rushes {

/// What a layout is predicted to need for one clip, on its busiest rank.
struct Prediction {
  double seconds = 0;
  std::vector<StageTime> stages;
  double weight_bytes = 0;
  double activation_bytes = 0;  // of the stage that needs most, decoding apart
  double vae_bytes = 0;         // activations of decoding
  double memory_bytes = 0;      // in all, with the runtime's
  double claimed_bytes = 0;  // the same, but of weights that ranks of a node share (on a CPU) its share alone
  double node_bytes = 0;     // sent inside the node
  double network_bytes = 0;  // and to other nodes, by the rank that sends most there
  double load_seconds = 0;   // to read the weights, once
};

/// What a rank sends in `group` that leaves its node, as a fraction, where `world` ranks fill nodes in order
/// and replicas of `split` follow each other (dist/groups.h: dit_tp innermost, then ulysses, ring and cfg).
double network_share(Group group, const Split& split, int64_t ranks_per_node, int64_t world);

/// clip: the loads of `split`. cluster: as it is for `world` ranks (Cluster::for_ranks).
Prediction predict(const ClipLoad& clip, const Split& split, const Cluster& cluster, int64_t world);

}  // namespace rushes
