#pragma once
// What the fuzz targets share. A reader of outside bytes may take them or throw UserError; everything else
// that comes out of it ends the program, and libFuzzer keeps the input.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace rushes::fuzz {

inline std::string text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Runs `read`; true where it did not refuse.
template <class Read>
bool accepted(Read read) {
  try {
    read();
    return true;
  } catch (const UserError& error) {
    // A refusal says why; with RUSHES_FUZZ_SAY set it is shown, to see what becomes of an input.
    if (error.problems().empty() || std::string_view(error.what()).empty()) std::abort();
    static const bool say = std::getenv("RUSHES_FUZZ_SAY") != nullptr;
    if (say) std::fprintf(stderr, "%s\n", error.what());
    return false;
  }
}

/// A property of what was read: broken, it is a finding. `about` is shown with it.
inline void hold(bool condition, const char* property, const std::string& about = "") {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n%s\n", property, about.c_str());
  std::abort();
}

/// The first byte as a choice below `count`, and takes it away. Printable, so that seeds can be written by
/// hand.
inline size_t choice(std::string& bytes, size_t count) {
  if (bytes.empty()) return 0;
  const auto first = static_cast<unsigned char>(bytes[0] - '0');
  bytes.erase(0, 1);
  return first % count;
}

/// Several files in one input, apart by NUL (which no JSON text holds); absent ones are empty.
inline std::vector<std::string> files_in(const std::string& bytes, size_t count) {
  std::vector<std::string> files(count);
  size_t at = 0;
  for (std::string& file : files) {
    if (at > bytes.size()) break;
    const size_t end = std::min(bytes.find('\0', at), bytes.size());
    file = bytes.substr(at, end - at);
    at = end + 1;
  }
  return files;
}

/// A folder for readers that open files themselves; in memory where `run` calls ($TMPDIR).
class Scratch {
 public:
  Scratch() : path_(std::filesystem::temp_directory_path() / ("rushes-fuzz-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Scratch() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::filesystem::path path = path_ / name;
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::abort();
    std::fclose(file);
    return path;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace rushes::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
