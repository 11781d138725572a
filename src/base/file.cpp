#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

/// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, int mode = 0644)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  /// Closes now and says whether that went well (a network file system reports a full disk here).
  bool close() {
    const int result = ::close(fd_);
    fd_ = -1;
    return result == 0;
  }

 private:
  int fd_;
};

[[noreturn]] void fail_io(const char* what, const fs::path& path) {
  fail("cannot ", what, " ", path.string(), ": ", std::strerror(errno));
}

std::string hex128(XXH128_hash_t value) {
  char text[33];
  snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(value.high64),
           static_cast<unsigned long long>(value.low64));
  return text;
}

void write_all(const Descriptor& file, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_io("write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

/// Throws for folders, pipes and devices. Opened with O_NONBLOCK, else a pipe would wait for a writer.
struct stat regular_file(const Descriptor& file, const fs::path& path) {
  if (!file.ok()) fail_io("read", path);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail_io("read", path);
  if (S_ISDIR(info.st_mode)) fail("cannot read ", path.string(), ": it is a folder");
  if (!S_ISREG(info.st_mode)) fail("cannot read ", path.string(), ": it is a pipe or device, no file");
  return info;
}

}  // namespace

std::string read_file(const fs::path& path, uint64_t max_bytes) {
  const Descriptor file(path, O_RDONLY | O_NONBLOCK);
  const struct stat info = regular_file(file, path);
  if (static_cast<uint64_t>(info.st_size) > max_bytes) {
    fail(path.string(), " has ", info.st_size, " bytes; at most ", max_bytes, " are read");
  }
  std::string bytes;
  bytes.reserve(static_cast<size_t>(info.st_size));
  char piece[1 << 16];
  while (true) {
    const ssize_t count = ::read(file.get(), piece, sizeof piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_io("read", path);
    if (count == 0) return bytes;
    bytes.append(piece, static_cast<size_t>(count));
    if (bytes.size() > max_bytes)
      fail(path.string(), " has more than the ", max_bytes, " bytes that are read");
  }
}

fs::path temporary_name(const fs::path& path, const std::string& owner) {
  return path.parent_path() / str(".", path.stem().string(), ".", owner, ".tmp", path.extension().string());
}

std::string folder_problem(const fs::path& path) {
  std::error_code error;
  fs::path there = fs::absolute(path, error);
  while (!fs::exists(there, error) && there != there.parent_path())
    there = there.parent_path();
  if (!fs::is_directory(there, error)) return there.string() + " is no folder";
  if (::access(there.c_str(), W_OK | X_OK) != 0) return str(there.string(), ": ", std::strerror(errno));
  return {};
}

std::string file_problem(const fs::path& path) {
  std::error_code error;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (path.filename().empty() || fs::is_directory(path, error)) return "it is a folder: name a file";
  // The result takes the name's place by a rename: a device or a pipe would be gone.
  if (fs::exists(path, error) && !fs::is_regular_file(path, error))
    return "it is a device, a pipe or a socket: name a file";
  const fs::file_status there = fs::status(folder, error);
  if (there.type() == fs::file_type::not_found) return str("the folder ", folder.string(), " does not exist");
  if (there.type() == fs::file_type::none) return str("the folder ", folder.string(), ": ", error.message());
  return folder_problem(folder);
}

void sync_path(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  if (!file.ok() || ::fsync(file.get()) != 0) fail_io("sync", path);
}

void write_path_atomic(const fs::path& path, const std::string& owner,
                       const std::function<void(const fs::path&)>& write) {
  const fs::path beside = temporary_name(path, owner);
  try {
    write(beside);
    sync_path(beside);
    if (::rename(beside.c_str(), path.c_str()) != 0) fail_io("rename a finished file to", path);
  } catch (...) {
    std::error_code ignored;
    fs::remove(beside, ignored);
    throw;
  }
  sync_path(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

void write_file_atomic(const fs::path& path, std::string_view bytes, const std::string& owner) {
  write_path_atomic(path, owner, [&](const fs::path& beside) {
    Descriptor file(beside, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.ok()) fail_io("write", beside);
    write_all(file, bytes, beside);
    if (!file.close()) fail_io("write", beside);
  });
}

std::string hash_bytes(std::string_view bytes) {
  return hex128(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string hash_file(const fs::path& path) {
  const Descriptor file(path, O_RDONLY | O_NONBLOCK);
  regular_file(file, path);
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  char piece[1 << 16];
  while (true) {
    const ssize_t count = ::read(file.get(), piece, sizeof piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_io("read", path);
    if (count == 0) return hex128(XXH3_128bits_digest(&state));
    XXH3_128bits_update(&state, piece, static_cast<size_t>(count));
  }
}

bool is_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    if (lead == 0) return false;
    const int extra = lead < 0x80                   ? 0
                      : lead >= 0xC2 && lead < 0xE0 ? 1
                      : lead >= 0xE0 && lead < 0xF0 ? 2
                      : lead >= 0xF0 && lead < 0xF5 ? 3
                                                    : -1;
    if (extra < 0 || i + static_cast<size_t>(extra) >= bytes.size() + (extra == 0)) return false;
    for (int k = 1; k <= extra; ++k) {
      if ((static_cast<unsigned char>(bytes[i + static_cast<size_t>(k)]) & 0xC0) != 0x80) return false;
    }
    if (extra > 0) {
      const auto second = static_cast<unsigned char>(bytes[i + 1]);
      if (lead == 0xE0 && second < 0xA0) return false;  // overlong
      if (lead == 0xED && second > 0x9F) return false;  // surrogates
      if (lead == 0xF0 && second < 0x90) return false;  // overlong
      if (lead == 0xF4 && second > 0x8F) return false;  // beyond U+10FFFF
    }
    i += static_cast<size_t>(extra) + 1;
  }
  return true;
}

}  // namespace rushes
