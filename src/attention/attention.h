#pragma once
// Scaled dot-product attention over whole sequences on one rank, by the backend that StepContext asks for.

#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "attention/step_context.h"

namespace rushes {

struct AttentionInput {
  at::Tensor q;                    // [batch, query tokens, heads, head dim]
  at::Tensor k;                    // [batch, key tokens, heads, head dim]
  at::Tensor v;                    // [batch, key tokens, heads, value dim]
  std::optional<at::Tensor> bias;  // added to the scores; broadcastable to [batch, heads, query, key]
  std::optional<double> scale;     // default 1 / sqrt(head dim)
};

/// softmax(q k^T * scale + bias) v -> [batch, query tokens, heads, value dim], in q's dtype and on its device
/// (Vaswani et al., arXiv 1706.03762, eq. 1). q, k, v share dtype, device, batch and heads and may be any
/// strided views; a boolean bias means "attend here". The result may be a transposed view. Without keys it is
/// zero. Backend `reference` computes in float32 (float64 for float64 inputs), in slices of queries, so that
/// the scores of a long sequence fit. Backends `flash` and `automatic` are our own kernel where it takes the
/// inputs (kernels/flash_attention) and sdpa elsewhere. Backend `sdpa` rounds a floating bias to q's dtype
/// (but float32 on the CPU).
at::Tensor attend(const AttentionInput& input, const StepContext& context);

/// Attention over some of the keys.
struct PartialAttention {
  at::Tensor out;  // [batch, query tokens, heads, value dim] as attend's, or float32 after a merge
  at::Tensor lse;  // [batch, query tokens, heads] float32: log of the sum of e^score; -inf without keys
};
/// attend() and the logarithm of each query's sum.
PartialAttention attend_part(const AttentionInput& input, const StepContext& context);
/// The same over both parts' keys, in float32 (the online softmax's step, arXiv 1805.02867).
PartialAttention merge(const PartialAttention& a, const PartialAttention& b);

}  // namespace rushes
