#pragma once

#include <ATen/ATen.h>

namespace rushes {

/// x: [rows, in], weight: [out, in], bias: [out] or undefined -> y: [rows, out], every element written.
void linear_cpu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor& y);

}  // namespace rushes
