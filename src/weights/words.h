#pragma once
// How names, shapes and types from files are written in messages.

#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "base/quote.h"

namespace rushes {

/// "[2, 16, 3]".
std::string shape_text(at::IntArrayRef shape);

/// safetensors' name of a type ("F32", "BF16", ...), or "" where the format has none.
std::string safetensors_dtype(at::ScalarType dtype);
/// The type of a safetensors name; nothing where Rushes cannot hold it.
std::optional<at::ScalarType> dtype_from_safetensors(const std::string& name);

}  // namespace rushes
