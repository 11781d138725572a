#include "dist/traffic.h"

#include <algorithm>

#include "dist/comm.h"

namespace rushes {
namespace {

constexpr int64_t kFloatBytes = 4;  // of a partial sum

}  // namespace

int64_t even_size(int64_t total, int64_t ranks, int64_t rank) {
  return total / ranks + (rank < total % ranks ? 1 : 0);
}

int64_t even_start(int64_t total, int64_t ranks, int64_t rank) {
  return total / ranks * rank + std::min(rank, total % ranks);
}

int64_t all_gather_bytes(int64_t own_bytes, int64_t ranks) {
  return (ranks - 1) * own_bytes;
}

int64_t all_reduce_bytes(int64_t numbers, int64_t element, int64_t ranks, int64_t rank) {
  if (ranks == 1) return 0;
  if (numbers <= kSmallSum) return all_gather_bytes(numbers * kFloatBytes, ranks);
  const int64_t own = even_size(numbers, ranks, rank);
  return (numbers - own) * kFloatBytes + all_gather_bytes(own * element, ranks);
}

int64_t broadcast_depth(int64_t ranks) {
  int64_t depth = 0;
  for (int64_t reach = 1; reach < ranks; reach *= 2)
    ++depth;
  return depth;
}

int64_t broadcast_bytes(int64_t bytes, int64_t ranks) {
  return broadcast_depth(ranks) * bytes;
}

int64_t ulysses_bytes(const Ulysses& group, int64_t rank) {
  const int64_t own_tokens = even_size(group.tokens, group.ranks, rank);
  const int64_t own_heads = even_size(group.heads, group.ranks, rank);
  // To each other rank r: my tokens of its heads (q, k, v), and its tokens of my heads (the output).
  const int64_t out = own_tokens * (group.heads - own_heads) * 3;
  const int64_t back = (group.tokens - own_tokens) * own_heads;
  return (out + back) * group.head_dim * group.element;
}

int64_t ring_bytes(int64_t tokens, int64_t heads, int64_t head_dim, int64_t element, int64_t ranks) {
  return (ranks - 1) * 2 * tokens * heads * head_dim * element;
}

}  // namespace rushes
