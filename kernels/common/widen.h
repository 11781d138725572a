#pragma once
// bfloat16 operands of the micro-kernel (brgemm.h) as float32, where product_dtype() says so.

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace rushes {

/// [rows, columns], rows `stride` apart, to [rows, columns] side by side.
void widen_rows(const c10::BFloat16* from, int64_t stride, int64_t rows, int64_t columns, float* to);
/// The first `columns` columns of [pairs, stride, 2], two rows interleaved, to [2 * pairs, stride].
void widen_pairs(const c10::BFloat16* from, int64_t stride, int64_t pairs, int64_t columns, float* to);

}  // namespace rushes
