#include "kernels/flash_attention/flash_attention.h"

#include <cmath>

#include "base/error.h"
#include "kernels/common/brgemm.h"
#include "kernels/flash_attention/flash_attention_cpu.h"

namespace rushes {
namespace {

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  RUSHES_CHECK(q.dim() == 4 && k.dim() == 4 && v.dim() == 4, "q ", q.sizes(), ", k ", k.sizes(), ", v ",
               v.sizes());
  const bool fit = k.size(0) == q.size(0) && v.size(0) == q.size(0) && k.size(2) == q.size(2) &&
                   v.size(2) == q.size(2) && k.size(3) == q.size(3) && v.size(1) == k.size(1) &&
                   k.size(1) > 0;
  RUSHES_CHECK(fit, "q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
  RUSHES_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(), "q ", q.toString(),
               ", k ", k.toString(), ", v ", v.toString());
  RUSHES_CHECK(scale > 0, "scale ", scale);
}

/// Numbers of a head side by side, tokens no nearer than that.
at::Tensor with_packed_heads(const at::Tensor& x) {
  const bool packed = (x.stride(3) == 1 || x.size(3) == 1) && x.stride(1) >= x.size(3);
  return packed ? x : x.contiguous();
}

}  // namespace

bool can_flash_attention(const at::Tensor& q) {
  const bool even = q.dim() == 4 && q.size(3) % 2 == 0;
  return q.is_cpu() && product_dtype(q.scalar_type()) != at::ScalarType::Undefined &&
         (q.scalar_type() == at::kFloat || even);
}

at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                           const at::Tensor& lse) {
  check(q, k, v, scale);
  RUSHES_CHECK(can_flash_attention(q), "q ", q.toString(), " ", q.sizes());
  at::Tensor out = at::empty({q.size(0), q.size(1), q.size(2), v.size(3)}, q.options());
  RUSHES_CHECK(!lse.defined() || (lse.is_contiguous() && lse.sizes() == out.sizes().slice(0, 3)), "lse ",
               lse.sizes());
  if (q.size(3) == 0 && lse.defined()) lse.fill_(std::log(static_cast<double>(k.size(1))));
  if (q.size(0) * q.size(1) * q.size(2) == 0) return out;
  if (q.size(3) == 0) return out.copy_(v.mean(1, /*keepdim=*/true));  // all scores are zero
  flash_attention_cpu(with_packed_heads(q), with_packed_heads(k), with_packed_heads(v),
                      static_cast<float>(scale), out, lse);
  return out;
}

at::Tensor flash_attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     double scale) {
  check(q, k, v, scale);
  const auto wide = [](const at::Tensor& x) { return x.to(at::kFloat).transpose(1, 2); };
  const at::Tensor scores = at::matmul(wide(q), wide(k).transpose(2, 3)).mul_(scale);
  return at::matmul(at::softmax(scores, -1), wide(v)).transpose(1, 2).to(q.scalar_type());
}

}  // namespace rushes
