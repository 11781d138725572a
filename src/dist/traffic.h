#pragma once
// What the collectives of comm.h send, in theory: bytes that one rank hands to the transport. The one place
// of these formulas; tests hold them to what Comm counts.

#include <cstdint>

namespace rushes {

/// Comm::all_gather of `own_bytes` here: to each other rank.
int64_t all_gather_bytes(int64_t own_bytes, int64_t ranks);
/// Comm::all_reduce_ of `numbers`, `element` bytes each: partial sums in float32 to their owners, then the
/// owned run of sums in the tensor's own format to all others; few numbers are gathered whole in float32.
int64_t all_reduce_bytes(int64_t numbers, int64_t element, int64_t ranks, int64_t rank);
/// Comm::broadcast_: what the root sends down its tree.
int64_t broadcast_bytes(int64_t bytes, int64_t ranks);
/// How many ranks the root of a broadcast sends to: the depth of its tree.
int64_t broadcast_depth(int64_t ranks);

/// One attention through a Ulysses group: tokens are split evenly over `ranks` before, heads during
/// attention. q, k and v go out packed, the output comes back. `element`: bytes a number.
struct Ulysses {
  int64_t tokens = 0;  // of the whole group
  int64_t heads = 0;   // of the whole group
  int64_t head_dim = 0;
  int64_t element = 4;
  int64_t ranks = 1;
};
int64_t ulysses_bytes(const Ulysses& group, int64_t rank);

/// One attention around a ring: the own keys and values, of `tokens` x `heads`, go ranks - 1 times.
int64_t ring_bytes(int64_t tokens, int64_t heads, int64_t head_dim, int64_t element, int64_t ranks);

/// Part `rank` of even_sizes(total, ranks), and where it begins, without the list.
int64_t even_size(int64_t total, int64_t ranks, int64_t rank);
int64_t even_start(int64_t total, int64_t ranks, int64_t rank);

}  // namespace rushes
