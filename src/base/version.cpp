#include "base/version.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/file.h"
#include "rushes_version.inc"  // made by cmake/Version.cmake: RUSHES_VERSION, RUSHES_COMMIT

namespace rushes {
namespace {

/// The files that our code was loaded from, sorted: librushes.so or a test's program, and librushes_cuda.so
/// where that is loaded.
std::vector<std::string> own_files() {
  std::vector<std::string> files;
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&build_commit), &info) != 0 && info.dli_fname != nullptr)
    files.emplace_back(info.dli_fname);
  const auto add = [](dl_phdr_info* object, size_t, void* out) {
    const char* const slash = object->dlpi_name == nullptr ? nullptr : std::strrchr(object->dlpi_name, '/');
    if (slash != nullptr && std::strncmp(slash, "/librushes_", std::strlen("/librushes_")) == 0)
      static_cast<std::vector<std::string>*>(out)->emplace_back(object->dlpi_name);
    return 0;
  };
  ::dl_iterate_phdr(add, &files);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::string version() {
  return RUSHES_VERSION;
}
std::string build_commit() {
  return RUSHES_COMMIT;
}
std::string build_identity() {
  const std::string commit = build_commit();
  if (commit != "unknown" && !commit.ends_with("-dirty")) return commit;
  static const std::string hash = [] {
    std::string hashes;
    for (const std::string& file : own_files())
      hashes += hash_file(file);
    return hashes.empty() ? "?" : hash_bytes(hashes);
  }();
  return commit + " " + hash;
}
std::string version_text() {
  return version() + " (" + build_commit() + ")";
}

}  // namespace rushes
