#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "weights/hub/cache.h"

namespace rushes::hub {
namespace {

constexpr double kPoll = 0.05;

}  // namespace

/// False where somebody else holds it.
bool FileLock::try_lock(const std::filesystem::path& path) {
  constexpr int kHow = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | kHow, 0664);
  // In a cache of several users the file may be another's; flock asks for no right to write.
  if (fd_ < 0 && errno == EACCES && (fd_ = ::open(path.c_str(), O_RDONLY | kHow)) < 0) errno = EACCES;
  if (fd_ < 0) {
    const int why = errno;
    const std::string words = str("cannot make the lock ", path.string(), ": ", std::strerror(why),
                                  "; set HF_HUB_CACHE to a folder that can be written");
    if (why == EROFS || why == EACCES || why == EPERM) throw Unwritable(words);
    throw UserError(words);
  }
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) {
    // Whoever cleans the cache may have removed the file in between: then the lock is of a file without a
    // name.
    struct stat mine {
    }, there{};
    held_ = ::fstat(fd_, &mine) == 0 && ::stat(path.c_str(), &there) == 0 && mine.st_ino == there.st_ino &&
            mine.st_dev == there.st_dev;
    if (held_) return true;
  } else if (errno != EWOULDBLOCK && errno != EACCES && errno != EINTR) {
    log_warning(path.string(), ": no locks on this file system (", std::strerror(errno),
                "): several processes may fetch the same files");
    return true;
  }
  ::close(fd_);
  fd_ = -1;
  return false;
}

FileLock::FileLock(const std::filesystem::path& path, double wait_seconds, const Cancel& cancel,
                   const std::function<uint64_t()>& headway) {
  if (try_lock(path)) return;
  Timer since_headway, since_look;
  uint64_t seen = headway();
  log_debug("waiting for ", path.string());
  while (!try_lock(path)) {
    cancel.sleep(kPoll);
    if (since_look.seconds() < 1) continue;
    since_look = Timer();
    if (const uint64_t now = headway(); now != seen) {
      seen = now;
      since_headway = Timer();
    }
    if (since_headway.seconds() > wait_seconds)
      fail("another process has been fetching this model without headway for ", wait_seconds, " s (it holds ",
           path.string(), "): end it, or wait longer with RUSHES_HUB_WAIT");
  }
}

void FileLock::touch() const {
  if (fd_ >= 0 && ::futimens(fd_, nullptr) != 0) log_debug("cannot touch a lock: ", std::strerror(errno));
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace rushes::hub
