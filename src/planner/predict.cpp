#include "planner/predict.h"

#include <algorithm>
#include <numeric>

namespace rushes {
namespace {

/// Attention around a ring runs in pieces, one for each rank's keys, whose results are merged: of the rate of
/// one piece this much is left. An estimate: on four H100 diffusers' ring takes 2.0 times as long as Ulysses,
/// much of it unhidden sending; no ring of ours was measured on GPUs yet.
constexpr double kRingRate = 0.85;

/// On a CPU freed tensors' memory is kept, up to a quarter of the most in use (device/kept_memory.h), weights
/// among that.
constexpr double kKeptMemory = 0.25;

/// Members of one group are `stride` places apart; the first of them stands at a multiple of `start`.
struct Spread {
  int64_t size = 1, stride = 1, start = 1;
};

Spread spread_of(Group group, const Split& s) {
  const int64_t inner = s.dit_tp, sp = s.dit_tp * s.sp(), replica = s.replica();
  switch (group) {
    case Group::dit_tp:
      return {s.dit_tp, 1, inner};
    case Group::ulysses:
      return {s.ulysses, inner, inner * s.ulysses};
    case Group::ring:
      return {s.ring, inner * s.ulysses, sp};
    case Group::sp:
      return {s.sp(), inner, sp};
    case Group::cfg:
      return {s.cfg, sp, replica};
    case Group::tp:
      return {s.tp, 1, replica};
    case Group::vae:
      return {s.vae, 1, replica};
    case Group::replica:
      return {replica, 1, replica};
  }
  return {};
}

constexpr Group kAllGroups[] = {Group::cfg,    Group::ulysses, Group::ring, Group::sp,
                                Group::dit_tp, Group::tp,      Group::vae,  Group::replica};

/// A group's bytes by link.
struct Sending {
  double node_bytes = 0, network_bytes = 0, seconds = 0;
};

Sending sending(const Sent& sent, double network_share, const Cluster& cluster) {
  Sending result;
  if (sent.bytes == 0) return result;
  result.network_bytes = sent.bytes * network_share;
  result.node_bytes = sent.bytes - result.network_bytes;
  const double latency = network_share > 0 ? cluster.network.latency_seconds : cluster.node.latency_seconds;
  result.seconds = sent.exchanges * latency + result.node_bytes / cluster.node.bytes_per_second +
                   result.network_bytes / cluster.network.bytes_per_second;
  return result;
}

/// Attention's rate is measured with heads of 128: two products of 2 x 128 operations a score, and what its
/// exponential takes, which is the same for narrower heads.
double attention_seconds(const Load& load, Dtype dtype, const Cluster& cluster) {
  const double products = 4 * 128, fraction = cluster.attention.of(dtype);
  const double exponential = products * std::max(0.0, 1 / fraction - 1);
  return (load.attention_flops + load.scores * exponential) /
         (cluster.peak.of(dtype) * std::max(1.0, fraction));
}

/// Products at the rate that their kind reaches, other layers at the memory's. On a GPU operations are
/// started while earlier ones run, so that the longer of the two counts; a CPU does one after the other, and
/// its products wait for their operands where a GPU's work meanwhile.
double work_seconds(const Load& load, Dtype dtype, const Cluster& cluster) {
  const double peak = cluster.peak.of(dtype);
  // A CPU works on 16-bit numbers in float32: as many a second, of half the bytes.
  const double moved = cluster.device == DeviceKind::cpu && dtype != Dtype::float32 ? 2 : 1;
  const double ring = load.to(Group::ring).bytes > 0 ? kRingRate : 1;
  const double work =
      load.matmul_flops / (peak * cluster.matmul.of(dtype)) + attention_seconds(load, dtype, cluster) / ring +
      load.conv_flops / (peak * cluster.convolution.of(dtype)) +
      load.moved_bytes * moved / cluster.memory_bytes_per_second +
      (cluster.device == DeviceKind::cpu ? load.product_bytes : 0) / cluster.memory_bytes_per_second;
  const double starts = load.calls * cluster.call_seconds;
  const double steps = load.steps * cluster.step_seconds;
  return (cluster.device == DeviceKind::cuda ? std::max(work, starts) : work + starts) + steps;
}

}  // namespace

double network_share(Group group, const Split& split, int64_t ranks_per_node, int64_t world) {
  const Spread spread = spread_of(group, split);
  if (spread.size == 1 || world <= ranks_per_node) return 0;
  // First members stand at every multiple of gcd(start, node) of some node; all of the group fits behind it
  // or not.
  const int64_t extent = spread.stride * (spread.size - 1) + 1;
  const int64_t room = std::gcd(spread.start, ranks_per_node);
  // The others of a stride lie between members: they shift a group by up to stride - 1.
  if (extent + spread.stride - 1 <= room) return 0;
  if (group == Group::ring) return 1;  // it sends to the next only, and some next is on another node
  const int64_t near = std::clamp<int64_t>(ranks_per_node / spread.stride, 1, spread.size);
  if (near == spread.size) return 0.5;  // cut somewhere, though a node would hold it
  return static_cast<double>(spread.size - near) / static_cast<double>(spread.size - 1);
}

Prediction predict(const ClipLoad& clip, const Split& split, const Cluster& cluster, int64_t world) {
  const int64_t on_node = std::min(cluster.ranks_per_node, world);
  Prediction result;
  double beside = 0;
  for (const StageLoad& stage : clip) {
    double seconds = work_seconds(stage.load, stage.dtype, cluster);
    for (const Group group : kAllGroups) {
      const double share = network_share(group, split, cluster.ranks_per_node, world);
      const Sending sent = sending(stage.load.to(group), share, cluster);
      result.node_bytes += sent.node_bytes;
      result.network_bytes += sent.network_bytes;
      // A ring's keys travel while attention to the ones before is worked out.
      const double hidden = group == Group::ring
                                ? stage.load.attention_flops /
                                      (cluster.peak.of(stage.dtype) * cluster.attention.of(stage.dtype))
                                : 0;
      seconds += std::max(0.0, sent.seconds - hidden);
    }
    result.stages.push_back({stage.stage, seconds});
    result.seconds += seconds;
    result.weight_bytes += stage.load.weight_bytes;
    if (stage.beside_next) {
      beside = std::max(beside, stage.load.activation_bytes);
    } else {
      result.activation_bytes = std::max(result.activation_bytes, stage.load.activation_bytes);
    }
  }
  result.vae_bytes = beside;
  double activations = result.activation_bytes + beside;
  if (cluster.device == DeviceKind::cpu) {
    activations = std::max(result.activation_bytes, beside);
    activations += std::min(activations, kKeptMemory * (result.weight_bytes + activations));
  }
  result.memory_bytes = result.weight_bytes + activations + cluster.runtime_bytes;
  // On a CPU ranks of a node that hold the same part of the weights hold it once (weights/node_memory.h).
  const int64_t copies =
      cluster.device == DeviceKind::cpu ? std::min(on_node, std::max(split.dit_tp, split.tp)) : on_node;
  const double share = static_cast<double>(copies) / static_cast<double>(on_node);
  result.claimed_bytes = result.memory_bytes - result.weight_bytes * (1 - share);
  result.load_seconds =
      result.weight_bytes * static_cast<double>(copies) / cluster.host_load_bytes_per_second;
  return result;
}

}  // namespace rushes
