#include "base/version.h"

#include <dlfcn.h>

#include "base/file.h"
#include "rushes_version.inc"  // made by cmake/Version.cmake: RUSHES_VERSION, RUSHES_COMMIT

namespace rushes {

std::string version() {
  return RUSHES_VERSION;
}
std::string build_commit() {
  return RUSHES_COMMIT;
}
std::string build_identity() {
  const std::string commit = build_commit();
  if (commit != "unknown" && !commit.ends_with("-dirty")) return commit;
  // The file that this code was loaded from: librushes.so, or a test's program.
  static const std::string hash = [] {
    Dl_info info{};
    if (::dladdr(reinterpret_cast<void*>(&build_commit), &info) == 0 || info.dli_fname == nullptr)
      return std::string("?");
    return hash_file(info.dli_fname);
  }();
  return commit + " " + hash;
}
std::string version_text() {
  return version() + " (" + build_commit() + ")";
}

}  // namespace rushes
