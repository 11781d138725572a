#include "attention/attention.h"

#include <algorithm>
#include <cmath>

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

at::Tensor attend_reference(const AttentionInput& in, double scale) {
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

}  // namespace

at::Tensor attend(const AttentionInput& in, const StepContext& context) {
  check(in);
  if (in.q.numel() == 0 || in.k.size(1) == 0) {
    return at::zeros({in.q.size(0), in.q.size(1), in.q.size(2), in.v.size(3)}, in.q.options());
  }
  const double scale = in.scale.value_or(1.0 / std::sqrt(static_cast<double>(in.q.size(3))));
  if (context.attention == AttentionBackend::reference) return attend_reference(in, scale);
  const bool flash = context.attention != AttentionBackend::sdpa && !in.bias && scale > 0;
  if (flash && can_flash_attention(in.q)) return flash_attention(in.q, in.k, in.v, scale);
  return attend_sdpa(in, scale);
}

}  // namespace rushes
