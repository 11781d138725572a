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

/// softmax(q k^T * scale + bias) v -> [batch, query tokens, heads, value dim], in q's dtype.
at::Tensor attend(const AttentionInput& input, const StepContext& context);

}  // namespace rushes
