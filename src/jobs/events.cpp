#include "jobs/events.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>

#include "base/error.h"
#include "base/log.h"
#include "weights/model_dir.h"

namespace rushes {

EventLog::EventLog(std::filesystem::path path, int rank, std::string run)
    : path_(std::move(path)), rank_(rank), run_(std::move(run)) {}

void EventLog::add(const std::string& event, nlohmann::json fields) const {
  nlohmann::ordered_json line;
  line["time"] = utc_now();
  line["event"] = event;
  line["rank"] = rank_;
  line["run"] = run_;
  for (const auto& [key, value] : fields.items())
    line[key] = value;
  std::string text = line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";

  const int fd =
      ::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return log_warning("cannot write ", path_.string(), ": ", std::strerror(errno));
  while (::flock(fd, LOCK_EX) != 0 && errno == EINTR) {
  }
  const off_t size = ::lseek(fd, 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(fd, &last, 1, size - 1) == 1 && last != '\n') text = "\n" + text;
  const ssize_t written = ::write(fd, text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    const int why = written < 0 ? errno : ENOSPC;
    if (written > 0 && ::ftruncate(fd, size) != 0) log_debug("half an event stays in ", path_.string());
    log_warning("cannot write the event ", event, " to ", path_.string(), ": ", std::strerror(why));
  }
  ::close(fd);
}

std::string utc_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[32];
  const size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char whole[48];
  snprintf(whole, sizeof whole, "%.*s.%03ldZ", static_cast<int>(length), text, now.tv_nsec / 1000000);
  return whole;
}

double seconds_of(const std::string& utc) {
  tm parts{};
  int milliseconds = 0;
  if (std::sscanf(utc.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                  &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &milliseconds) != 7) {
    return 0;
  }
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  return static_cast<double>(timegm(&parts)) + milliseconds / 1000.0;
}

uint64_t read_events(const std::filesystem::path& path, uint64_t offset,
                     const std::function<void(const nlohmann::json&)>& each) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return offset;  // a pipe would hold us for ever
  std::ifstream file(path, std::ios::binary);
  if (!file) return offset;
  file.seekg(0, std::ios::end);
  if (static_cast<uint64_t>(file.tellg()) < offset) offset = 0;  // another file took its place
  file.seekg(static_cast<std::streamoff>(offset));
  std::string line;
  while (std::getline(file, line)) {
    if (file.eof()) break;  // the last line is still being written
    offset += line.size() + 1;
    try {
      const nlohmann::json json = parse_json(line, path.string());
      if (json.is_object()) each(json);
    } catch (const UserError&) {  // half a line of a process that died
    }
  }
  return offset;
}

}  // namespace rushes
