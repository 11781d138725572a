#pragma once
// How a world's ranks are split: world = dp x replica (+ idle), replica = cfg x sp x dit_tp.

#include <cstdint>
#include <string>

#include "config/settings.h"

namespace rushes {

/// The layout of one world; made once, never changed. Every factor is at least 1.
class ParallelPlan {
 public:
  /// Fits the job's `parallel:` to `world` ranks. `auto` goes to data parallel first, since whole clips share
  /// nothing: the other axes take 1. Explicit numbers that cannot hold are a UserError that prints every
  /// factor. tp and vae: all ranks of the replica, up to 8.
  static ParallelPlan make(const Parallel& parallel, int64_t world);

  int64_t world() const { return world_; }
  int64_t dp() const { return dp_; }
  int64_t cfg() const { return cfg_; }
  int64_t sp() const { return sp_; }
  int64_t ring() const { return ring_; }  // the ring's share of sp
  int64_t ulysses() const { return sp_ / ring_; }
  int64_t dit_tp() const { return dit_tp_; }
  int64_t tp() const { return tp_; }    // of the text encoders, inside the replica
  int64_t vae() const { return vae_; }  // ranks that decode together, inside the replica
  int64_t replica() const { return cfg_ * sp_ * dit_tp_; }
  int64_t idle() const { return world_ - dp_ * replica(); }
  /// The replica that a rank belongs to, or -1 where it idles.
  int64_t replica_of(int64_t rank) const { return rank < dp_ * replica() ? rank / replica() : -1; }
  /// "4 ranks = dp 4 x replica 1 (cfg 1 x sp 1 [ring 1] x dit_tp 1), tp 1, vae 1"
  std::string text() const;

 private:
  ParallelPlan() = default;
  int64_t world_ = 1, dp_ = 1, cfg_ = 1, sp_ = 1, ring_ = 1, dit_tp_ = 1, tp_ = 1, vae_ = 1;
};

}  // namespace rushes
