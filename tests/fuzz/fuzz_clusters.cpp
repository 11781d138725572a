// Descriptions of devices (configs/clusters). One that is taken is written down as `bench --calibrate` does,
// and that file says the same.

#include "config/yaml/yaml.h"
#include "fuzz.h"
#include "planner/cluster.h"

using namespace rushes;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text = fuzz::text_of(data, size);
  Cluster cluster;
  if (!fuzz::accepted([&] { cluster = read_cluster(parse_yaml(text, "cluster.yaml"), "cluster.yaml"); }))
    return 0;
  for (const int64_t ranks : {1, 3, 4096}) {
    const Cluster some = cluster.for_ranks(ranks);
    fuzz::hold(some.ranks_per_node >= 1 && some.memory_bytes >= 0, "a share of a machine is one");
  }
  const std::string written = cluster_yaml(cluster, "Once more.");
  Cluster again;
  fuzz::hold(fuzz::accepted([&] { again = read_cluster(parse_yaml(written, "again.yaml"), "again.yaml"); }),
             "what was written down is read", written);
  fuzz::hold(cluster_yaml(again, "Once more.") == written, "and says the same", written);
  return 0;
}
