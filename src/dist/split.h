#pragma once
// How the ranks of one replica share a clip.

#include <cstdint>

namespace rushes {

/// Ranks along each axis, each at least 1: replica = cfg x ulysses x ring x dit_tp; text encoders use the
/// first `tp` of them, the VAE the first `vae`.
struct Split {
  int64_t cfg = 1;  // 2: the two forwards of guidance beside each other
  int64_t ulysses = 1;
  int64_t ring = 1;
  int64_t dit_tp = 1;
  int64_t tp = 1;
  int64_t vae = 1;

  int64_t sp() const { return ulysses * ring; }
  int64_t replica() const { return cfg * sp() * dit_tp; }
};

}  // namespace rushes
