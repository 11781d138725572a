#pragma once
// The names that the Hub gives to contents: sha256 of a large (LFS) file, git's blob id of a small one.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace rushes::hub {

/// The hash of bytes that come piece by piece.
class ContentHash {
 public:
  /// By the name's length: 64 hex digits are a sha256; 40 are sha1 over "blob <size>\0" and the bytes, git's
  /// id of a blob of `size` bytes.
  ContentHash(const std::string& name, uint64_t size);
  void add(std::string_view bytes);
  /// Lower-case hex digits; the last call on this object.
  std::string finish();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

/// The name that the file's bytes deserve, of the kind of `name`. `look`, if given, is called now and then
/// with the bytes read. Throws UserError where it cannot be read.
std::string hash_of_file(const std::filesystem::path& file, const std::string& name, uint64_t size,
                         const std::function<void(uint64_t)>& look = {});

}  // namespace rushes::hub
