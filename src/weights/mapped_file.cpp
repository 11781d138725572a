#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace rushes {

MappedFile::MappedFile(std::filesystem::path path, const std::byte* data, size_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

MappedFile::~MappedFile() {
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(const std::byte* from, size_t count) const {
  // Whole pages only: the first and the last may hold a neighbour that is in use.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (static_cast<size_t>(from - data_) + page - 1) / page * page;
  const size_t end = static_cast<size_t>(from - data_ + static_cast<std::ptrdiff_t>(count)) / page * page;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang; regular files ignore it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail("cannot read ", path.string(), ": ", std::strerror(errno));
  struct stat info {};
  const bool known = ::fstat(fd, &info) == 0;
  const bool usable = known && S_ISREG(info.st_mode) && info.st_size > 0;
  void* data =
      usable ? ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  const int reason = errno;
  ::close(fd);
  if (!known) fail("cannot read ", path.string(), ": ", std::strerror(reason));
  if (!S_ISREG(info.st_mode)) fail("cannot read ", path.string(), ": it is not a regular file");
  if (info.st_size == 0)
    fail(path.string(), " is empty (0 bytes): it was not written or not downloaded to its end");
  if (data == MAP_FAILED) {
    fail("cannot map ", path.string(), " (", info.st_size, " bytes) into memory: ", std::strerror(reason));
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const std::byte*>(data), static_cast<size_t>(info.st_size)));
}

}  // namespace rushes
