#include "weights/hub/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "weights/hub/pull_progress.h"

namespace rushes::hub {

PartialFile::PartialFile(std::filesystem::path path, const TreeFile& file,
                         const std::function<void()>& meanwhile)
    : path_(std::move(path)), file_(file) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  struct stat info {};
  if (fd_ < 0 || ::fstat(fd_, &info) != 0) fail_write();
  hash_.emplace(file_.etag(), file_.size);
  try {
    if (!read_left_over(static_cast<uint64_t>(info.st_size), meanwhile)) restart();
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

/// What an earlier start left; false where that cannot be used.
bool PartialFile::read_left_over(uint64_t size, const std::function<void()>& meanwhile) {
  if (size > file_.size) return false;
  std::vector<char> piece(size_t{1} << 20);
  while (have_ < size) {
    meanwhile();
    const ssize_t count = ::pread(fd_, piece.data(), piece.size(), static_cast<off_t>(have_));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    hash_->add({piece.data(), static_cast<size_t>(count)});
    have_ += static_cast<uint64_t>(count);
  }
  return have_ == size;
}

PartialFile::~PartialFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (have_ == 0) remove();
}

void PartialFile::fail_write() const {
  const int why = errno;
  if (why == ENOSPC || why == EDQUOT)
    fail("no space left for ", path_.string(), " (", bytes_text(file_.size - have_),
         " of it are still to come): free some, or set HF_HUB_CACHE to a folder on another disk; what has "
         "come "
         "is kept and continued");
  fail("cannot write ", path_.string(), ": ", std::strerror(why),
       "; models from the Hub are kept there: set HF_HUB_CACHE to a folder that can be written");
}

void PartialFile::add(std::string_view bytes) {
  RUSHES_CHECK(have_ + bytes.size() <= file_.size, have_, " + ", bytes.size(), " of ", file_.size);
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(have_));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_write();
    hash_->add(bytes.substr(0, static_cast<size_t>(count)));
    have_ += static_cast<uint64_t>(count);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void PartialFile::restart() {
  if (::ftruncate(fd_, 0) != 0) fail_write();
  have_ = 0;
  hash_.emplace(file_.etag(), file_.size);
}

bool PartialFile::is_right() {
  RUSHES_CHECK(whole(), have_, " of ", file_.size);
  return hash_->finish() == file_.etag();
}

void PartialFile::become(const std::filesystem::path& blob) {
  if (::fsync(fd_) != 0) fail_write();
  const int closed = ::close(fd_);  // a network file system reports a full disk here
  fd_ = -1;
  if (closed != 0 || ::rename(path_.c_str(), blob.c_str()) != 0) fail_write();
  sync_path(blob.parent_path());
}

void PartialFile::remove() {
  ::unlink(path_.c_str());
}

}  // namespace rushes::hub
