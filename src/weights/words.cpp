#include "weights/words.h"

#include <array>

#include "base/str.h"

namespace rushes {
namespace {

struct DtypeRow {
  const char* name;
  at::ScalarType dtype;
};

constexpr std::array kDtypes = {
    DtypeRow{"F64", at::kDouble},    DtypeRow{"F32", at::kFloat}, DtypeRow{"F16", at::kHalf},
    DtypeRow{"BF16", at::kBFloat16}, DtypeRow{"I64", at::kLong},  DtypeRow{"I32", at::kInt},
    DtypeRow{"I16", at::kShort},     DtypeRow{"I8", at::kChar},   DtypeRow{"U8", at::kByte},
    DtypeRow{"BOOL", at::kBool},
};

}  // namespace

std::string shape_text(at::IntArrayRef shape) {
  return str("[", join(shape, ", "), "]");
}

std::string safetensors_dtype(at::ScalarType dtype) {
  for (const auto& row : kDtypes) {
    if (row.dtype == dtype) return row.name;
  }
  return "";
}

std::optional<at::ScalarType> dtype_from_safetensors(const std::string& name) {
  for (const auto& row : kDtypes) {
    if (name == row.name) return row.dtype;
  }
  return {};
}

}  // namespace rushes
