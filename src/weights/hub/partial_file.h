#pragma once
// A blob that is being collected: its file and the hash of what is in it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "weights/hub/cache.h"
#include "weights/hub/content_hash.h"

namespace rushes::hub {

class PartialFile {
 public:
  /// Opens or makes the file, and reads what an earlier start left in it, which may take minutes: `meanwhile`
  /// is called every MiB, and what it throws ends it. Throws UserError.
  PartialFile(std::filesystem::path path, const TreeFile& file, const std::function<void()>& meanwhile);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  uint64_t have() const { return have_; }
  bool whole() const { return have_ == file_.size; }
  /// Throws UserError, with what to do where the disk is full. The bytes must not go past the file's size.
  void add(std::string_view bytes);
  void restart();
  /// Whole: does the content deserve the name? Can be asked once after each start.
  bool is_right();
  /// Syncs and renames.
  void become(const std::filesystem::path& blob);
  void remove();

 private:
  bool read_left_over(uint64_t size, const std::function<void()>& meanwhile);
  [[noreturn]] void fail_write() const;

  const std::filesystem::path path_;
  const TreeFile& file_;
  int fd_ = -1;
  uint64_t have_ = 0;
  std::optional<ContentHash> hash_;
};

}  // namespace rushes::hub
