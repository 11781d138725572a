#include "jobs/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "config/json_fields.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path)) {
    fail("cannot make the folder ", path.string(), ": ",
         error ? error.message() : "a file of that name is in the way");
  }
}

}  // namespace

OutputFolder OutputFolder::create(const fs::path& root) {
  OutputFolder folder(root);
  // The folders of outputs appear with their first file.
  for (const char* name : {"items", "logs"})
    make_folder(root / name);
  for (const fs::path& path : {folder.claims(), folder.owners(), folder.work(), folder.deaths()})
    make_folder(path);
  return folder;
}

OutputFolder OutputFolder::open(const fs::path& root) {
  OutputFolder folder(root);
  std::error_code error;
  const bool there = fs::exists(folder.hidden(), error);
  if (error == std::errc::permission_denied) fail("cannot look into ", root.string(), ": ", error.message());
  if (!there || !fs::is_directory(root / "items", error)) {
    fail(root.string(), " is no output folder of a run (it has no .rushes/ and items/)");
  }
  return folder;
}

std::string OutputFolder::video_path(const std::string& id, const std::string& container) {
  return str("videos/", id, ".", container);
}

std::string OutputFolder::latents_path(const std::string& id) {
  return str("latents/", id, ".safetensors");
}

std::string OutputFolder::frames_path(const std::string& id) {
  return str("frames/", id);
}

std::string OutputFolder::frame_name(int64_t index) {
  std::string digits = str(index);
  return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits + ".png";
}

FolderLock::FolderLock(const OutputFolder& folder)
    : fd_(::open((folder.hidden() / "lock").c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644)) {
  const std::string path = (folder.hidden() / "lock").string();
  if (fd_ < 0) fail("cannot write ", path, ": ", std::strerror(errno));
  while (::flock(fd_, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    const int why = errno;
    ::close(fd_);
    fail("cannot lock ", path, ": ", std::strerror(why),
         "; the output folder needs a file system with locks (for Lustre: mounted with -o flock)");
  }
}

FolderLock::~FolderLock() {
  ::close(fd_);
}

WorkPlace::WorkPlace(const OutputFolder& folder, const std::string& token) : path_(folder.work() / token) {
  make_folder(path_);
}

WorkPlace::~WorkPlace() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void WorkPlace::write_file(const fs::path& target, std::string_view bytes) const {
  // Within one folder each name is written by one thread at a time; two folders may use the same name.
  const fs::path beside =
      path_ / (target.parent_path().filename().string() + "-" + target.filename().string());
  write_file_atomic(beside, bytes, "w");
  if (::rename(beside.c_str(), target.c_str()) != 0) {
    const int why = errno;
    ::unlink(beside.c_str());
    fail("cannot write ", target.string(), ": ", std::strerror(why));
  }
  sync_path(target.parent_path());
}

void put_in_place(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  if (error) fail("cannot make the folder ", to.parent_path().string(), ": ", error.message());
  if (::rename(from.c_str(), to.c_str()) != 0) fail("cannot write ", to.string(), ": ", std::strerror(errno));
  sync_path(to.parent_path());
}

nlohmann::json read_json_object(const fs::path& path, uint64_t most_bytes) {
  try {
    nlohmann::json json = parse_json(read_file(path, most_bytes), path.string());
    if (json.is_object()) return json;
  } catch (const UserError&) {
  }
  return nullptr;
}

int64_t whole_at(const nlohmann::json& object, const char* key, int64_t low, int64_t high) {
  const nlohmann::json& value = object.at(key);
  const bool fits = fits_int64(value);
  const int64_t whole = fits ? value.get<int64_t>() : 0;
  if (!fits || whole < low || whole > high)
    throw nlohmann::json::other_error::create(501, str(key, " is ", value.type_name()), &object);
  return whole;
}

FreshRun unfinished_fresh_run(const OutputFolder& folder) {
  const nlohmann::json json = read_json_object(folder.fresh());
  const auto text = [&](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>()
                                                                           : "";
  };
  return {text("run"), text("digest")};
}

bool is_disk_trouble(const std::string& message, const fs::path& folder) {
  for (const int code :
       {ENOSPC, EDQUOT, EROFS, EIO, ESTALE, EACCES, EPERM, ENOTCONN, EMFILE, ENFILE, ENXIO}) {
    if (message.find(std::strerror(code)) != std::string::npos) return true;
  }
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) return true;
  if (info.f_bavail * info.f_frsize < (uint64_t{1} << 20)) return true;
  const fs::path probe = folder / str(".probe-", getpid());
  try {
    write_file_atomic(probe, std::string(1 << 16, 'x'), "probe");
  } catch (const UserError&) {
    return true;
  }
  ::unlink(probe.c_str());
  return false;
}

}  // namespace rushes
