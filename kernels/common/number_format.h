#pragma once
// The number formats that every kernel takes. C++17, no torch: the .cu files read it.

namespace rushes {

enum class NumberFormat { f32, bf16, f16 };

}  // namespace rushes
