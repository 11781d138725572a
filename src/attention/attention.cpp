#include "attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/flash_attention/flash_attention.h"

namespace rushes {
namespace {

// Most scores the reference backend holds at once: 2^26 float32 are 256 MiB.
constexpr int64_t kReferenceScores = int64_t{1} << 26;

void check(const AttentionInput& in) {
  RUSHES_CHECK(in.q.dim() == 4 && in.k.dim() == 4 && in.v.dim() == 4, "q ", in.q.sizes(), ", k ",
               in.k.sizes(), ", v ", in.v.sizes());
  const bool sizes_fit = in.q.size(0) == in.k.size(0) && in.q.size(0) == in.v.size(0) &&
                         in.q.size(2) == in.k.size(2) && in.q.size(2) == in.v.size(2) &&
                         in.k.size(1) == in.v.size(1) && in.q.size(3) == in.k.size(3);
  RUSHES_CHECK(sizes_fit, "q ", in.q.sizes(), ", k ", in.k.sizes(), ", v ", in.v.sizes());
  const bool kinds_fit = in.q.scalar_type() == in.k.scalar_type() &&
                         in.q.scalar_type() == in.v.scalar_type() && in.q.device() == in.k.device() &&
                         in.q.device() == in.v.device();
  RUSHES_CHECK(kinds_fit, "q ", in.q.toString(), ", k ", in.k.toString(), ", v ", in.v.toString());
}

// All of a bias's query rows, or the given ones where it has a row a query.
at::Tensor bias_rows(const at::Tensor& bias, int64_t start, int64_t count) {
  return bias.dim() >= 2 && bias.size(-2) > 1 ? bias.narrow(-2, start, count) : bias;
}

/// lse: [B, L, H] float32, or undefined.
at::Tensor attend_reference(const AttentionInput& in, double scale, const at::Tensor& lse) {
  const auto precise = in.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor q = in.q.transpose(1, 2).to(precise);        // [B, H, L, D]
  const at::Tensor k = in.k.permute({0, 2, 3, 1}).to(precise);  // [B, H, D, S]
  const at::Tensor v = in.v.transpose(1, 2).to(precise);        // [B, H, S, E]
  const int64_t queries = q.size(2);
  const int64_t scores_a_query = std::max<int64_t>(1, q.size(0) * q.size(1) * k.size(3));
  const int64_t slice = std::clamp<int64_t>(kReferenceScores / scores_a_query, 1, queries);
  at::Tensor out = at::empty({q.size(0), queries, q.size(1), v.size(3)}, in.q.options());
  for (int64_t start = 0; start < queries; start += slice) {
    const int64_t count = std::min(slice, queries - start);
    at::Tensor scores = at::matmul(q.narrow(2, start, count), k).mul_(scale);
    if (in.bias && in.bias->scalar_type() == at::kBool) {
      scores.masked_fill_(bias_rows(*in.bias, start, count).logical_not(), -INFINITY);
    } else if (in.bias) {
      scores.add_(bias_rows(*in.bias, start, count));
    }
    out.narrow(1, start, count).copy_(at::matmul(at::softmax(scores, -1), v).transpose(1, 2));
    if (lse.defined()) lse.narrow(1, start, count).copy_(at::logsumexp(scores, -1).transpose(1, 2));
  }
  return out;
}

at::Tensor attend_sdpa(const AttentionInput& in, double scale) {
  std::optional<at::Tensor> bias = in.bias;
  if (bias) {
    const auto dtype = bias->scalar_type();
    // Only the CPU's kernel takes a float32 bias beside 16-bit queries.
    const bool taken =
        dtype == at::kBool || dtype == in.q.scalar_type() || (dtype == at::kFloat && in.q.is_cpu());
    if (!taken) bias = bias->to(in.q.scalar_type());
    // ATen wants a bias of four (or two) dims that it can expand.
    while (bias->dim() < 4) {
      bias = bias->unsqueeze(0);
    }
  }
  return at::scaled_dot_product_attention(in.q.transpose(1, 2), in.k.transpose(1, 2), in.v.transpose(1, 2),
                                          bias, /*dropout_p=*/0.0, /*is_causal=*/false, scale)
      .transpose(1, 2);
}

double scale_of(const AttentionInput& in) {
  return in.scale.value_or(1.0 / std::sqrt(static_cast<double>(in.q.size(3))));
}

bool has_work(const AttentionInput& in) {
  return in.q.numel() != 0 && in.k.size(1) != 0;
}

at::Tensor nothing(const AttentionInput& in) {
  return at::zeros({in.q.size(0), in.q.size(1), in.q.size(2), in.v.size(3)}, in.q.options());
}

bool takes_flash(const AttentionInput& in, const StepContext& context, double scale) {
  const bool asked =
      context.attention == AttentionBackend::automatic || context.attention == AttentionBackend::flash;
  return asked && !in.bias && scale > 0 && can_flash_attention(in.q);
}

/// ATen's flash attention on a GPU, which tells the sums: 16-bit formats, heads of up to 256.
PartialAttention attend_part_cuda(const AttentionInput& in, double scale) {
  const auto [out, lse, a, b, c, d, e, f, g] =
      at::_scaled_dot_product_flash_attention(in.q.transpose(1, 2), in.k.transpose(1, 2),
                                              in.v.transpose(1, 2), /*dropout_p=*/0.0, /*is_causal=*/false,
                                              /*return_debug_mask=*/false, scale);
  return {out.transpose(1, 2), lse.transpose(1, 2).contiguous()};
}

}  // namespace

at::Tensor attend(const AttentionInput& in, const StepContext& context) {
  check(in);
  if (!has_work(in)) return nothing(in);
  const double scale = scale_of(in);
  if (context.attention == AttentionBackend::reference) return attend_reference(in, scale, {});
  if (takes_flash(in, context, scale)) return flash_attention(in.q, in.k, in.v, scale);
  return attend_sdpa(in, scale);
}

PartialAttention attend_part(const AttentionInput& in, const StepContext& context) {
  check(in);
  const at::Tensor lse = at::full({in.q.size(0), in.q.size(1), in.q.size(2)},
                                  -std::numeric_limits<double>::infinity(), in.q.options().dtype(at::kFloat));
  if (!has_work(in)) return {nothing(in), lse};
  const double scale = scale_of(in);
  if (takes_flash(in, context, scale)) return {flash_attention(in.q, in.k, in.v, scale, lse), lse};
  const bool narrow = in.q.scalar_type() == at::kBFloat16 || in.q.scalar_type() == at::kHalf;
  // ATen's flash attention called by itself takes heads of 8, 16, ... 256 dims.
  const bool cuda = in.q.is_cuda() && narrow && !in.bias && in.q.size(3) == in.v.size(3) &&
                    in.q.size(3) <= 256 && in.q.size(3) % 8 == 0;
  if (cuda && context.attention != AttentionBackend::reference) return attend_part_cuda(in, scale);
  // Where a mask leaves a query no key there is nothing, not the NaN of a softmax over nothing.
  const at::Tensor out = attend_reference(in, scale, lse);
  return {out.masked_fill_(lse.isneginf().unsqueeze(-1), 0), lse};
}

PartialAttention merge(const PartialAttention& a, const PartialAttention& b) {
  const at::Tensor lse = at::logaddexp(a.lse, b.lse);
  // Without any keys both sums are zero, and so is the result.
  const at::Tensor share = at::nan_to_num(at::exp(b.lse - lse), 0.0).unsqueeze(-1);
  const at::Tensor left = a.out.to(at::kFloat), right = b.out.to(at::kFloat);
  return {left + (right - left) * share, lse};
}

}  // namespace rushes
