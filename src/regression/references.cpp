#include "regression/references.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/quote.h"
#include "config/file_names.h"
#include "config/json_fields.h"
#include "weights/hub/model_id.h"
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

/// Is something there? Throws UserError where nobody can know: a folder that cannot be looked into is not
/// empty.
bool is_there(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::none) fail("cannot look for ", path.string(), ": ", error.message());
  return fs::exists(status);
}

/// What lies in a folder, sorted, without hidden files; nothing where it is not there.
std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  if (!is_there(folder)) return found;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    if (!at->path().filename().string().starts_with('.')) found.push_back(at->path());
  }
  // It may have gone since.
  if (error && error != std::errc::no_such_file_or_directory)
    fail("cannot read the folder ", folder.string(), ": ", error.message());
  std::sort(found.begin(), found.end());
  return found;
}

/// The folders among them.
std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> found = entries(folder);
  std::erase_if(found, [](const fs::path& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::none) fail("cannot look into ", path.string(), ": ", error.message());
    return !fs::is_directory(status);
  });
  return found;
}

std::string user_name() {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> bytes(size_t{1} << 14);
  const uid_t user = ::geteuid();
  const bool known = ::getpwuid_r(user, &entry, bytes.data(), bytes.size(), &found) == 0 && found != nullptr;
  return known ? std::string(entry.pw_name) : str("user ", user);  // a container may know numbers alone
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
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

/// What is written below the root stays there: none of the folders on the way may be a link.
void refuse_links(const fs::path& root, const fs::path& inner) {
  fs::path path = root;
  for (const fs::path& part : inner) {
    path /= part;
    std::error_code error;
    if (fs::is_symlink(fs::symlink_status(path, error)))
      fail(path.string(), " is a link; nothing is written through it: make it a folder");
  }
}

}  // namespace

std::string ReferenceKey::folder() const {
  return str(model, "/", device, "-", dtype, "-", attention);
}

std::string reference_model_name(const std::string& model) {
  std::error_code error;
  // A revision of the Hub may have a '/'; in a folder's path '@' is a letter like others.
  const bool of_hub = hub::looks_like_model_id(model) && !fs::is_directory(model, error);
  fs::path path = fs::path(of_hub ? model.substr(0, model.find('@')) : model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
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

fs::path ReferenceStore::pointer(const std::string& key, const std::string& id) const {
  const fs::path clips = root_ / key / "clips";
  if (const std::string problem = id_problem(id); !problem.empty()) fail(clips.string(), ": id: ", problem);
  return clips / (id + ".json");
}

std::vector<std::string> ReferenceStore::ids(const std::string& key) const {
  std::vector<std::string> found;
  for (const fs::path& path : entries(root_ / key / "clips")) {
    if (path.extension() != ".json") continue;
    found.push_back(path.stem().string());
    if (const std::string problem = id_problem(found.back()); !problem.empty())
      fail(path.string(), ": id: ", problem, "; this is no file of bless: take it away");
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> ReferenceStore::ids(const ReferenceKey& key) const {
  return ids(key.folder());
}

std::vector<std::string> ReferenceStore::keys() const {
  std::vector<std::string> found;
  for (const fs::path& model : folders_in(root_)) {
    for (const fs::path& folder : folders_in(model)) {
      const std::string key = model.filename().string() + "/" + folder.filename().string();
      if (!ids(key).empty()) found.push_back(key);
    }
  }
  return found;
}

Reference ReferenceStore::read(const std::string& key, const std::string& id) const {
  const fs::path path = pointer(key, id);
  const json object = read_object(path);
  if (member_text(object, "schema") != kSchema)
    fail(path.string(), ": schema ", quote_name(member_text(object, "schema")), "; this version reads ",
         kSchema);
  if (member_text(object, "id") != id)
    fail(path.string(), ": it is the reference of ", quote_name(member_text(object, "id")));
  Reference reference;
  reference.blessed = member_text(object, "blessed");
  reference.clip.id = id;
  reference.clip.root = root_ / key / "versions" / id;
  reference.clip.done = true;
  reference.clip.files = files_of(object, path.string());
  std::erase_if(reference.clip.files, [](const ClipFile& file) { return !is_reference_kind(file.kind); });
  if (const auto record = object.find("record"); record != object.end()) reference.clip.record = *record;
  return reference;
}

std::optional<Reference> ReferenceStore::find(const ReferenceKey& key, const std::string& id) const {
  if (!is_there(pointer(key.folder(), id))) return std::nullopt;
  return read(key.folder(), id);
}

std::optional<double> ReferenceStore::model_min_ssim(const std::string& model) const {
  const fs::path path = root_ / model / "model.json";
  if (!is_there(path)) return std::nullopt;
  const json object = read_object(path);
  const auto at = object.find("min_ssim");
  if (at == object.end()) return std::nullopt;
  if (!at->is_number() || at->get<double>() < 0 || at->get<double>() > 1)
    fail(path.string(), ": min_ssim must be a number from 0 to 1; found ", short_json(*at));
  return at->get<double>();
}

void ReferenceStore::set_model_min_ssim(const std::string& model, double value) const {
  refuse_links(root_, model);
  make_folder(root_ / model);
  write_file_atomic(root_ / model / "model.json", pretty({{"min_ssim", value}}), owner_name());
}

StagedReference::StagedReference(const fs::path& versions, const std::string& time, fs::path pointer)
    : time_(time),
      staging_(versions / str(".", time, ".", owner_name(), ".tmp")),
      version_(versions / time),
      pointer_(std::move(pointer)) {}

StagedReference::~StagedReference() {
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
  // Folders that were made for nothing: versions/<id>, versions and clips, <key>, <model>.
  ::rmdir(pointer_.parent_path().c_str());
  fs::path empty = staging_.parent_path();
  for (int level = 0; level < 4; ++level, empty = empty.parent_path())
    ::rmdir(empty.c_str());
}

/// Copies that killed processes left: a day is more than any copy takes.
void sweep_staged(const fs::path& versions) {
  std::error_code error, ignored;
  std::vector<fs::path> old;
  const auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator at(versions, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(".") || !name.ends_with(".tmp") || at->is_symlink(ignored)) continue;
    const auto changed = fs::last_write_time(at->path(), ignored);
    if (!ignored && now - changed > std::chrono::hours(24)) old.push_back(at->path());
  }
  for (const fs::path& path : old)
    fs::remove_all(path, ignored);
}

void StagedReference::fill(const ClipFiles& clip) {
  make_folder(staging_.parent_path());
  sweep_staged(staging_.parent_path());
  make_folder(staging_);
  make_folder(pointer_.parent_path());
  json files = json::array();
  std::set<std::string> names;
  for (const ClipFile& file : clip.files) {
    if (!is_reference_kind(file.kind)) continue;
    const std::string name = file.kind == "frames" ? "frames/" + fs::path(file.path).filename().string()
                                                   : file.kind + fs::path(file.path).extension().string();
    if (!names.insert(name).second)
      fail("clip ", clip.id, ": its record has two files for ", name, "; run the job again with --fresh");
    copy_whole(clip.root / file.path, staging_ / name);
    const std::string hash = hash_file(staging_ / name);
    files.push_back({{"kind", file.kind},
                     {"path", time_ + "/" + name},
                     {"bytes", fs::file_size(staging_ / name)},
                     {"hash", hash}});
  }
  text_ = pretty(
      {{"schema", kSchema}, {"id", clip.id}, {"blessed", time_}, {"files", files}, {"record", clip.record}});
  write_file_atomic(staging_ / "reference.json", text_, owner_name());
  if (fs::exists(staging_ / "frames")) sync_path(staging_ / "frames");
}

void StagedReference::put() {
  std::error_code error;
  fs::rename(staging_, version_, error);
  if (error) fail("cannot write ", version_.string(), ": ", error.message());
  const auto is_reference = [&] {
    try {
      return read_file(pointer_) == text_;
    } catch (const UserError&) {
      return false;
    }
  };
  try {
    sync_path(version_.parent_path());
    make_folder(pointer_.parent_path());
    write_file_atomic(pointer_, text_, owner_name());
  } catch (...) {
    if (!is_reference()) fs::remove_all(version_, error);  // a version that never was the reference
    throw;
  }
}

std::unique_ptr<StagedReference> ReferenceStore::stage(const ReferenceKey& key, const ClipFiles& clip,
                                                       const std::string& time) const {
  const fs::path current = pointer(key.folder(), clip.id);  // refuses ids that are no file names
  for (const char* inner : {"clips", "versions"})
    refuse_links(root_, fs::path(key.folder()) / inner / clip.id);
  if (is_there(current) && fs::is_directory(current))
    fail(current.string(), " is a folder; move it away: the reference of ", clip.id, " belongs there");
  try {
    auto staged =
        std::make_unique<StagedReference>(root_ / key.folder() / "versions" / clip.id, time, current);
    staged->fill(clip);
    return staged;
  } catch (const fs::filesystem_error& error) {
    fail("cannot keep the reference of ", clip.id, ": ", error.what());
  }
}

void ReferenceStore::drop(const ReferenceKey& key, const std::string& id) const {
  const fs::path path = pointer(key.folder(), id);
  std::error_code error;
  fs::remove(path, error);
  if (error) fail("cannot remove ", path.string(), ": ", error.message());
}

void ReferenceStore::require_places(const ReferenceKey& key, bool threshold) const {
  std::vector<fs::path> places = {root_ / key.folder() / "blessings.jsonl"};
  if (threshold) places.push_back((root_ / key.folder()).parent_path() / "model.json");
  for (const fs::path& path : places) {
    std::error_code ignored;
    const fs::file_type type = fs::symlink_status(path, ignored).type();
    if (type != fs::file_type::not_found && type != fs::file_type::regular)
      fail("cannot write ", path.string(), ": it is ", type == fs::file_type::symlink ? "a link" : "no file");
  }
}

void ReferenceStore::note_blessing(const ReferenceKey& key, json line) const {
  line["user"] = user_name();
  line["host"] = host_name();
  refuse_links(root_, key.folder());
  make_folder(root_ / key.folder());
  append_json_line(root_ / key.folder() / "blessings.jsonl", line);
}

fs::path export_target(const fs::path& target) {
  fs::path path = target.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "upload/"
  if (!path.has_filename()) fail("'", target.string(), "' is no name for a new folder");
  if (is_there(path)) fail(path.string(), " is there already; give the name of a new folder");
  if (const std::string problem = folder_problem(path); !problem.empty())
    fail(path.string(), " cannot be made: ", problem);
  return path;
}

void ReferenceStore::export_to(const fs::path& target) const {
  const fs::path path = export_target(target);
  // Hidden, and by its process's name: neither a folder of the user's nor one that a killed upload left is
  // met.
  const fs::path staging = path.parent_path() / str(".", path.filename().string(), ".", owner_name(), ".tmp");
  std::error_code error;
  fs::remove_all(staging, error);
  try {
    make_folder(staging);
    for (const std::string& key : keys()) {
      for (const std::string& id : ids(key)) {
        const fs::path versions = fs::path(key) / "versions" / id;
        for (const ClipFile& file : read(key, id).clip.files) {
          copy_whole(root_ / versions / file.path, staging / versions / file.path);
          // Damaged ones must not go round; nor what a link in a folder from elsewhere leads to.
          if (hash_file(staging / versions / file.path) != file.hash)
            fail((root_ / versions / file.path).string(), " has other bytes than recorded; bless ", id,
                 " anew");
        }
        copy_whole(pointer(key, id), staging / key / "clips" / (id + ".json"));
      }
      const fs::path model = fs::path(key).parent_path();
      if (const auto least = model_min_ssim(model.string()))
        write_file_atomic(staging / model / "model.json", pretty({{"min_ssim", *least}}), owner_name());
    }
    write_file_atomic(staging / "README.md", kCard, owner_name());
    fs::rename(staging, path, error);
    if (error) fail("cannot write ", path.string(), ": ", error.message());
  } catch (const UserError& problem) {
    fs::remove_all(staging, error);
    std::string said = problem.what();  // by the name that the user gave
    if (const size_t at = said.find(staging.string()); at != std::string::npos)
      said.replace(at, staging.string().size(), path.string());
    fail(said);
  } catch (...) {
    fs::remove_all(staging, error);
    throw;
  }
  sync_path(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

void append_json_line(const fs::path& path, const json& line) {
  std::string text = line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  // Never through a link: in a folder from elsewhere it may lead to any file of the user's.
  const int fd =
      ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (fd < 0)
    fail("cannot write ", path.string(), ": ", errno == ELOOP ? "it is a link" : std::strerror(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail("cannot write ", path.string(), ": it is no file");
  }
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
