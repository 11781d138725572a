#pragma once
// A file mapped into memory, read-only, for as long as the object lives.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

namespace rushes {

class MappedFile {
 public:
  /// Throws UserError (path and reason) if it can't be read, is no regular file or is empty. The file must
  /// not be cut short while it is mapped: reading past its new end kills the process (SIGBUS).
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  /// `count` bytes from `offset`; both must lie in the file.
  std::string_view bytes(size_t offset, size_t count) const {
    return {reinterpret_cast<const char*>(data_) + offset, count};
  }
  bool holds(const void* address) const { return address >= data_ && address < data_ + size_; }
  /// These bytes have been read for the time being: they no longer count as this process's memory. (The
  /// system may keep them; who reads them again waits a little.)
  void release(const std::byte* from, size_t count) const;

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size);
  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace rushes
