#pragma once
// The header of a safetensors file: read with every check before any of it is believed, and written.
// Format: github.com/huggingface/safetensors, README "Format".

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace rushes {

/// The format's own limit (MAX_HEADER_SIZE in safetensors/src/tensor.rs).
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

struct HeaderTensor {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the data that follows the header
};

struct SafetensorsHeader {
  std::map<std::string, HeaderTensor> tensors;
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

/// Parses and checks a header whose file has `data_bytes` bytes after it. Throws UserError that starts with
/// `where` and names tensors and figures; memory stays within a few times the text's size.
SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const std::string& where);

/// Bytes of a tensor of this shape, or nothing where the product (empty sides counted as 1) leaves int64.
std::optional<uint64_t> tensor_bytes(const std::vector<int64_t>& shape, at::ScalarType dtype);

}  // namespace rushes
