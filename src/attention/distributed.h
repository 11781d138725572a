#pragma once
// Attention of a sequence whose tokens are dealt out over ranks (StepContext::sp). Ulysses (Jacobs et al.,
// arXiv 2309.14509): ranks trade their tokens for heads before attention and back after it. Ring (Liu et al.,
// arXiv 2310.01889): each rank keeps its queries, keys and values go round, and results over parts of the
// keys are merged. Both together: heads are traded inside a Ulysses group, keys go round among groups (USP,
// Fang and Zhao, arXiv 2405.07719).
//
// Any number of tokens, heads and ranks: shares differ by at most one, and a rank may have none.

#include <ATen/ATen.h>

#include <vector>

#include "attention/attention.h"

namespace rushes {

/// The tokens of each rank of sp.all, in order; without sp one rank has all.
std::vector<int64_t> token_shares(int64_t tokens, const StepContext& context);
/// This rank's tokens of a whole sequence, along `dim`.
at::Tensor own_tokens(const at::Tensor& whole, int64_t dim, const StepContext& context);
/// The whole sequence out of all ranks' tokens, along `dim`: on every rank.
at::Tensor all_tokens(const at::Tensor& own, int64_t dim, int64_t tokens, const StepContext& context);

/// Tokens that every rank holds alike and that attend, and are attended to, together with the sequence: the
/// text of joint attention. [batch, text tokens, heads, head dim] each.
struct ReplicatedTokens {
  at::Tensor q, k, v;
};
struct JointAttention {
  at::Tensor own;         // of the sequence's own tokens
  at::Tensor replicated;  // of the replicated ones, the same on every rank; undefined where there are none
};

/// q, k, v: this rank's tokens, [batch, own tokens, heads, head dim]; the result has their shape. `tokens`:
/// of the whole sequence. mask: [batch, own tokens] boolean, which of them may be attended to, or undefined:
/// all. No bias.
JointAttention attend_distributed(const AttentionInput& input, int64_t tokens, const ReplicatedTokens& text,
                                  const at::Tensor& mask, const StepContext& context);
at::Tensor attend_distributed(const AttentionInput& input, int64_t tokens, const StepContext& context);

/// Bytes that the rank at `rank` of sp sends for one attention of `heads` heads of `dim` (keys, queries and
/// values alike), `bytes` a number, without text or mask.
int64_t distributed_attention_bytes(int64_t rank, int64_t ulysses, int64_t ring, int64_t batch,
                                    int64_t tokens, int64_t heads, int64_t dim, int64_t bytes);

}  // namespace rushes
