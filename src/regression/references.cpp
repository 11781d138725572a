#include "regression/references.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kSchema = "rushes.reference/1";

/// For temporary names: two processes that bless at once must not share one.
std::string owner_name() {
  return str("bless-", ::getpid());
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("cannot make the folder ", path.string(), ": ", error.message());
}

json read_object(const fs::path& path) {
  const json object = parse_json(read_file(path, uint64_t{64} << 20), path.string());
  if (!object.is_object()) fail(path.string(), ": no JSON object");
  return object;
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    found.push_back(at->path());
  std::sort(found.begin(), found.end());
  return found;
}

void copy_whole(const fs::path& from, const fs::path& to) {
  make_folder(to.parent_path());
  std::error_code error;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  if (error) fail("cannot copy ", from.string(), " to ", to.string(), ": ", error.message());
  sync_path(to);
}

std::string member_text(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::string pretty(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

constexpr const char* kCard = R"(---
tags: [rushes, regression-references]
---
# Regression references of Rushes

What clips looked like when they were last blessed: frames, latents or videos with checksums (XXH3-128, in
`clips/*.json`) and the record of the run that made each. Use this folder as it is:

    rushes compare OUTPUT --references THIS_FOLDER

Folders: model / device kind, number format and attention backend.
)";

}  // namespace

std::string ReferenceKey::folder() const {
  return str(model, "/", device, "-", dtype, "-", attention);
}

std::string reference_model_name(const std::string& model) {
  fs::path path = fs::path(model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  std::error_code error;
  // A short relative path: what it is called from outside.
  if (!path.has_parent_path() && fs::is_directory(path, error))
    path = fs::absolute(path, error).lexically_normal();
  const std::string parent = path.parent_path().filename().string();
  std::string name = path.filename().string();
  name = name.substr(0, name.find('@'));
  name = parent.empty() ? name : str(parent, "--", name);
  for (char& c : name) {
    const bool good = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    if (!good) c = '_';
  }
  if (name.empty() || name.front() == '.') name = "model" + name;
  return name;
}

ReferenceKey key_of(const ClipFiles& clip) {
  const auto request = clip.record.is_object() ? clip.record.find("request") : clip.record.end();
  if (!clip.record.is_object() || request == clip.record.end() || !request->is_object())
    fail("clip ", clip.id, ": its record has no request");
  const ReferenceKey key{reference_model_name(clip.text("model")), member_text(*request, "device"),
                         member_text(*request, "precision.transformer"), member_text(*request, "attention")};
  for (const std::string& word : {key.device, key.dtype, key.attention}) {
    if (word.empty() || word.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos)
      fail("clip ", clip.id, ": its record does not say device, precision.transformer and attention");
  }
  return key;
}

fs::path ReferenceStore::pointer(const ReferenceKey& key, const std::string& id) const {
  return root_ / key.folder() / "clips" / (id + ".json");
}

std::vector<std::string> ReferenceStore::ids(const ReferenceKey& key) const {
  std::vector<std::string> found;
  for (const fs::path& path : entries(root_ / key.folder() / "clips")) {
    if (path.extension() == ".json" && !path.filename().string().starts_with('.'))
      found.push_back(path.stem().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> ReferenceStore::keys() const {
  std::vector<std::string> found;
  for (const fs::path& model : entries(root_)) {
    for (const fs::path& key : entries(model)) {
      if (!entries(key / "clips").empty())
        found.push_back(model.filename().string() + "/" + key.filename().string());
    }
  }
  return found;
}

std::optional<Reference> ReferenceStore::find(const ReferenceKey& key, const std::string& id) const {
  const fs::path path = pointer(key, id);
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return std::nullopt;
  const json object = read_object(path);
  if (member_text(object, "schema") != kSchema)
    fail(path.string(), ": schema '", member_text(object, "schema"), "'; this version reads ", kSchema);
  if (member_text(object, "id") != id)
    fail(path.string(), ": it is the reference of '", member_text(object, "id"), "'");
  Reference reference;
  reference.blessed = member_text(object, "blessed");
  reference.clip.id = id;
  reference.clip.root = root_ / key.folder() / "versions" / id;
  reference.clip.done = true;
  reference.clip.files = files_of(object, path.string());
  if (const auto record = object.find("record"); record != object.end()) reference.clip.record = *record;
  return reference;
}

std::optional<double> ReferenceStore::model_min_ssim(const std::string& model) const {
  const fs::path path = root_ / model / "model.json";
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  const json object = read_object(path);
  const auto at = object.find("min_ssim");
  if (at == object.end()) return std::nullopt;
  if (!at->is_number() || at->get<double>() < -1 || at->get<double>() > 1)
    fail(path.string(), ": min_ssim must be a number up to 1; found ", at->dump());
  return at->get<double>();
}

void ReferenceStore::set_model_min_ssim(const std::string& model, double value) const {
  make_folder(root_ / model);
  write_file_atomic(root_ / model / "model.json", pretty({{"min_ssim", value}}), owner_name());
}

void ReferenceStore::put(const ReferenceKey& key, const ClipFiles& clip, const std::string& time) const {
  const fs::path versions = root_ / key.folder() / "versions" / clip.id;
  const fs::path staging = versions / str(".", time, ".", owner_name(), ".tmp");
  make_folder(staging);
  std::error_code ignored;
  try {
    json files = json::array();
    for (const ClipFile& file : clip.files) {
      const std::string name = file.kind == "frames" ? "frames/" + fs::path(file.path).filename().string()
                                                     : file.kind + fs::path(file.path).extension().string();
      copy_whole(clip.root / file.path, staging / name);
      const std::string hash = hash_file(staging / name);
      files.push_back({{"kind", file.kind},
                       {"path", time + "/" + name},
                       {"bytes", fs::file_size(staging / name)},
                       {"hash", hash}});
    }
    const std::string text = pretty(
        {{"schema", kSchema}, {"id", clip.id}, {"blessed", time}, {"files", files}, {"record", clip.record}});
    write_file_atomic(staging / "reference.json", text, owner_name());
    if (fs::exists(staging / "frames")) sync_path(staging / "frames");
    fs::rename(staging, versions / time);
    sync_path(versions);
    make_folder(pointer(key, clip.id).parent_path());
    write_file_atomic(pointer(key, clip.id), text, owner_name());
  } catch (const fs::filesystem_error& error) {
    fs::remove_all(staging, ignored);
    fail("cannot keep the reference of ", clip.id, ": ", error.what());
  } catch (...) {
    fs::remove_all(staging, ignored);
    throw;
  }
}

void ReferenceStore::drop(const ReferenceKey& key, const std::string& id) const {
  std::error_code error;
  fs::remove(pointer(key, id), error);
  if (error) fail("cannot remove ", pointer(key, id).string(), ": ", error.message());
}

void ReferenceStore::note_blessing(const ReferenceKey& key, const json& line) const {
  make_folder(root_ / key.folder());
  append_json_line(root_ / key.folder() / "blessings.jsonl", line);
}

void ReferenceStore::export_to(const fs::path& target) const {
  std::error_code error;
  if (fs::exists(target, error)) fail(target.string(), " is there already; give the name of a new folder");
  fs::path staging = target;
  staging += ".part";
  fs::remove_all(staging, error);
  for (const std::string& key : keys()) {
    for (const fs::path& path : entries(root_ / key / "clips")) {
      const std::string id = path.stem().string();
      for (const ClipFile& file : files_of(read_object(path), path.string()))
        copy_whole(root_ / key / "versions" / id / file.path, staging / key / "versions" / id / file.path);
      copy_whole(path, staging / key / "clips" / path.filename());
    }
    const fs::path model = fs::path(key).parent_path() / "model.json";
    if (fs::exists(root_ / model, error)) copy_whole(root_ / model, staging / model);
  }
  make_folder(staging);
  write_file_atomic(staging / "README.md", kCard, owner_name());
  fs::rename(staging, target, error);
  if (error) fail("cannot write ", target.string(), ": ", error.message());
}

void append_json_line(const fs::path& path, const json& line) {
  std::string text = line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  const int fd = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) fail("cannot write ", path.string(), ": ", std::strerror(errno));
  while (::flock(fd, LOCK_EX) != 0 && errno == EINTR) {
  }
  const off_t size = ::lseek(fd, 0, SEEK_END);
  char last = '\n';
  // A process that died may have left half a line.
  if (size > 0 && ::pread(fd, &last, 1, size - 1) == 1 && last != '\n') text = "\n" + text;
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int why = written < 0 ? errno : ENOSPC;
  const bool whole = written == static_cast<ssize_t>(text.size());
  if (!whole && ::ftruncate(fd, size) != 0) text.clear();  // the reader leaves half lines out
  ::close(fd);
  if (!whole) fail("cannot write ", path.string(), ": ", std::strerror(why));
}

}  // namespace rushes
