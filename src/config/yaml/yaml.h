#pragma once
// YAML text into a Value, by yaml-cpp's event parser, with bounds: file size, depth, one document, no anchors
// and aliases (so nothing in the file can grow), every key once.

#include <filesystem>
#include <string>

#include "config/value.h"

namespace rushes {

inline constexpr uint64_t kMaxYamlBytes = uint64_t{16} << 20;

/// `name` stands before the line in messages. Throws UserError with everything wrong that can be told apart:
/// bytes that are no UTF-8, syntax (line and column), duplicate keys, aliases, tags, a second document.
Value parse_yaml(const std::string& text, const std::string& name);
/// The same for a file of at most kMaxYamlBytes.
Value read_yaml(const std::filesystem::path& path);

}  // namespace rushes
