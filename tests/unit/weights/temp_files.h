#pragma once
// Files made for one test.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "support/folder.h"

namespace rushes {

/// A test's folder whose files may lie in folders of it.
class TempFolder : public TestFolder {
 public:
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories((path() / name).parent_path());
    return TestFolder::write(name, bytes);
  }
};

/// 8 bytes little-endian.
inline std::string length_bytes(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

/// A safetensors file of this header and `data` bytes of data (0, 1, 2, ...).
inline std::string safetensors(const std::string& header, size_t data) {
  std::string bytes = length_bytes(header.size()) + header;
  for (size_t i = 0; i < data; ++i)
    bytes.push_back(static_cast<char>(i));
  return bytes;
}

/// What `action` throws as UserError, or "" where it throws nothing; anything else passes through.
template <class Action>
std::string refusal(Action&& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

}  // namespace rushes
