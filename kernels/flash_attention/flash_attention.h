#pragma once
// softmax(q k^T * scale) v by blocks of keys with a running maximum and sum (Dao et al., arXiv 2205.14135;
// Milakov and Gimelshein, arXiv 1805.02867), so that no row of scores is ever whole in memory. CPU only: both
// products are oneDNN's micro-kernel (kernels/common/brgemm.h); the same bits for any number of threads.

#include <ATen/ATen.h>

namespace rushes {

/// Whether flash_attention takes such queries: on the CPU, float32 or bfloat16 (then with an even head dim),
/// and the micro-kernel runs here.
bool can_flash_attention(const at::Tensor& q);

/// q: [batch, queries, heads, dim], k: [batch, keys, heads, dim], v: [batch, keys, heads, value dim], any
/// strides, one dtype, at least one key -> [batch, queries, heads, value dim], contiguous. scale > 0. Scores,
/// maxima, sums and the result before its rounding are float32; where bfloat16 is multiplied as such
/// (kernels/common/brgemm.h: product_dtype) the weights are rounded before they meet v. lse: float32 [batch,
/// queries, heads], contiguous, or undefined: gets the logarithm of each query's sum of e^(score * scale),
/// with which results over parts of the keys are put together.
at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                           const at::Tensor& lse = {});

/// The definition in float32, by ATen.
at::Tensor flash_attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     double scale);

}  // namespace rushes
