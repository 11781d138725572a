#include "config/file_names.h"

#include <algorithm>
#include <filesystem>

#include "base/str.h"
#include "config/value.h"

namespace rushes {
namespace {

constexpr size_t kMaxIdBytes = 200;

}  // namespace

std::string id_problem(const std::string& id) {
  if (id.empty()) return "an id cannot be empty; leave the key out to have one made";
  if (id.size() > kMaxIdBytes)
    return str("has ", id.size(), " bytes; at most ", kMaxIdBytes, " fit into a file name");
  if (std::any_of(id.begin(), id.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return "holds a line break or another control character; an id is a file name";
  for (const char c : id) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-';
    if (!good) {
      return str("'", shortened(id, 60),
                 "' is no file name for every system; use letters a-z, digits, '.', '_', '-'");
    }
  }
  if (id.front() == '.')
    return str("'", shortened(id, 60), "' begins with a dot; ids are names of files that show");
  return {};
}

std::string inner_path_problem(const std::string& path) {
  const std::filesystem::path parts(path);
  if (path.empty() || path.find('\0') != std::string::npos || parts.is_absolute())
    return "a file's path is not relative";
  for (const std::filesystem::path& part : parts) {
    if (part == ".." || part == ".") return "a file's path leaves the folder: " + shortened(path, 200);
  }
  return {};
}

}  // namespace rushes
