// Our own vector code gives the same bits on every instruction set. (Products are oneDNN's: the same for one
// ONEDNN_MAX_CPU_ISA, which is the best that the processor has.)
#include <ATen/ATen.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/str.h"
#include "kernels/common/cpu.h"
#include "kernels/flash_attention/flash_attention.h"
#include "kernels/gated_add/gated_add.h"
#include "kernels/gelu/gelu.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"

namespace rushes {
namespace {

/// Values that no instruction set rounds differently: whole numbers over a power of two.
at::Tensor values(at::IntArrayRef shape, uint32_t seed) {
  const at::Tensor tensor = at::empty(shape);
  float* data = tensor.mutable_data_ptr<float>();
  uint32_t state = seed;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    state = state * 1664525u + 1013904223u;
    data[i] = static_cast<float>(static_cast<int32_t>(state) >> 8) / 1048576.0f;
  }
  return tensor;
}

std::string digest(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  return hash_bytes({static_cast<const char*>(plain.const_data_ptr()), plain.nbytes()});
}

/// What this process makes at its own level.
std::string digests() {
  std::string text;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor x = values({3, 7, 4, 66}, 5).to(dtype), weight = values({66}, 6).to(dtype);
    text += digest(rms_norm(x, weight, 1e-6, RmsNormRounding::after_weight)) + " ";
    const at::Tensor cos = values({7, 33}, 7).div_(8), sin = values({7, 33}, 8).div_(8);
    text += digest(rotary(x, cos, sin)) + " ";
    at::Tensor out = at::empty_like(x);
    rms_norm_silu_out(out, x, weight, 1e-6);
    text += digest(out) + " ";
    const at::Tensor q = values({1, 300, 2, 66}, 9).div_(4).to(dtype);
    if (can_flash_attention(q)) text += digest(flash_attention(q, q, q, 0.1)) + " ";
    const LinearWeight dense(values({70, 66}, 10).to(dtype));
    const at::Tensor bias = values({70}, 11).to(dtype);
    if (dense.panels().defined()) {
      text += digest(linear(x, dense, bias)) + " ";
      text += digest(linear(x, dense, bias, Epilogue::gelu_tanh)) + " ";
    }
    text += digest(layer_norm(x, values({66}, 6), values({66}, 12), 1e-6)) + " ";
    at::Tensor sum = x.clone();
    gated_add_(sum, x, {values({1, 66}, 13), {}});
    text += digest(sum) + " ";
    gelu_tanh_(sum);
    text += digest(sum) + " ";
  }
  return text;
}

TEST_CASE("print the digests of this level", "[.][levels-digest]") {
  std::cout << "digests " << digests() << "\n";
}

TEST_CASE("every instruction set gives the same bits", "[kernels]") {
  char self[4096] = {};
  REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
  const std::string here = "digests " + digests();
  // ATen takes the variable's word for it: only what this processor has.
  std::vector<const char*> levels = {"default"};
  if (cpu_level() != CpuLevel::baseline) levels.push_back("avx2");
  if (cpu_level() == CpuLevel::avx512) levels.push_back("avx512");
  for (const char* level : levels) {
    const std::string command = str("ATEN_CPU_CAPABILITY=", level, " '", self, "' '[levels-digest]'");
    const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.c_str(), "r"), pclose);
    REQUIRE(output);
    std::string found;
    for (char line[4096]; fgets(line, sizeof line, output.get()) != nullptr;) {
      if (std::string(line).starts_with("digests ")) found = std::string(line, std::string(line).find('\n'));
    }
    CAPTURE(level);
    CHECK(found == here);
  }
}

}  // namespace
}  // namespace rushes
