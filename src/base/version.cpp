#include "base/version.h"

#include "rushes_version.inc"  // made by cmake/Version.cmake: RUSHES_VERSION, RUSHES_COMMIT

namespace rushes {

std::string version() {
  return RUSHES_VERSION;
}
std::string build_commit() {
  return RUSHES_COMMIT;
}
std::string version_text() {
  return version() + " (" + build_commit() + ")";
}

}  // namespace rushes
