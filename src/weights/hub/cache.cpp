#include "weights/hub/cache.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "weights/model_dir.h"

namespace rushes::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostTreeBytes = uint64_t{256} << 20;
constexpr uint64_t kMostRefBytes = 4096;
constexpr char kFolderStart[] = "models--";
// The tag of bford.info/cachedir in huggingface_hub's words: back-ups leave such a folder out.
constexpr char kCacheTag[] =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by huggingface_hub.\n"
    "# For information about cache directory tags, see:\n"
    "#\thttps://bford.info/cachedir/\n";

std::string folder_name(const std::string& model) {
  const size_t slash = model.find('/');
  return kFolderStart + model.substr(0, slash) + "--" + model.substr(slash + 1);
}

/// Names a temporary file of this process and moment.
std::string own_mark() {
  std::random_device random;
  char text[17];
  snprintf(text, sizeof text, "%08x%08x", random(), static_cast<unsigned>(::getpid()));
  return text;
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return;
  const std::string words =
      str("cannot make ", folder.string(), ": ", error.message(),
          "; models from the Hub are kept there: set HF_HUB_CACHE to a folder that can be written");
  const int why = error.value();
  if (why == EROFS || why == EACCES || why == EPERM) throw Unwritable(words);
  throw UserError(words);
}

/// In huggingface_hub's own form, format 1.
nlohmann::json tree_json(const Tree& tree) {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& [path, file] : tree) {
    nlohmann::json row = {{"size", file.size}, {"blob_id", file.blob_id}};
    if (!file.lfs_sha256.empty()) {
      row["lfs_sha256"] = file.lfs_sha256;
      row["lfs_size"] = file.size;
    }
    if (!file.xet_hash.empty()) row["xet_hash"] = file.xet_hash;
    files[path] = std::move(row);
  }
  return {{"format_version", 1}, {"files", std::move(files)}};
}

Tree tree_from(const nlohmann::json& json) {
  Tree tree;
  if (json.at("format_version") != 1) fail("of a format that is not known");
  for (const auto& [path, row] : json.at("files").items()) {
    if (wrong_path(path)) fail("names a file that cannot be one");
    TreeFile file;
    file.size = row.at("size").get<uint64_t>();
    file.blob_id = row.at("blob_id").get<std::string>();
    const auto text = [&](const char* key) {
      return row.contains(key) && row[key].is_string() ? row[key].get<std::string>() : std::string();
    };
    file.lfs_sha256 = text("lfs_sha256");
    file.xet_hash = text("xet_hash");
    if (!is_hex(file.etag(), file.lfs_sha256.empty() ? 40 : 64)) fail("names a content by no hash");
    tree.emplace(path, std::move(file));
  }
  return tree;
}

/// Changes whenever something arrives in the folder.
uint64_t bytes_in(const fs::path& folder) {
  uint64_t sum = 0;
  std::error_code error, ignored;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const uint64_t size = at->file_size(ignored);
    sum += ignored ? 1 : size + 1;
  }
  return sum;
}

/// Changes whenever the holder of a commit's lock shows that it goes on. Not the locks of blobs: other
/// programs change those while they wait for them.
uint64_t beats_in(const fs::path& locks, const fs::path& snapshots) {
  uint64_t sum = 0;
  std::error_code error;
  for (fs::directory_iterator at(snapshots, error), end; !error && at != end; at.increment(error)) {
    struct stat info {};
    const fs::path lock = locks / (at->path().filename().string() + ".lock");
    if (::stat(lock.c_str(), &info) == 0)
      sum += static_cast<uint64_t>(info.st_mtim.tv_sec) * 1000000000 +
             static_cast<uint64_t>(info.st_mtim.tv_nsec);
  }
  return sum;
}

}  // namespace

Cache::Cache(const Settings& settings, const ModelId& model)
    : settings_(settings),
      folder_(settings.cache / folder_name(model.name)),
      locks_(settings.cache / ".locks" / folder_name(model.name)) {}

fs::path Cache::snapshot(const std::string& commit) const {
  RUSHES_CHECK(is_commit(commit), commit);
  return folder_ / "snapshots" / commit;
}

fs::path Cache::blob(const std::string& etag) const {
  RUSHES_CHECK(is_hex(etag, 40) || is_hex(etag, 64), etag);
  return folder_ / "blobs" / etag;
}

fs::path Cache::incomplete(const std::string& etag, bool alone) const {
  return str(blob(etag).string(), alone ? "" : ".", alone ? "" : own_mark(), ".incomplete");
}

fs::path Cache::place(const std::string& commit, const std::string& path) const {
  const auto wrong = wrong_path(path);
  RUSHES_CHECK(!wrong, path, " ", *wrong);
  return snapshot(commit) / path;
}

std::optional<std::string> Cache::ref(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  const fs::path file = folder_ / "refs" / revision;
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return {};
  std::string commit;
  try {
    commit = read_file(file, kMostRefBytes);
  } catch (const UserError& error) {  // a ref is a hint: the Hub knows better
    log_warning(error.what());
    return {};
  }
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' '))
    commit.pop_back();
  if (!is_commit(commit)) return {};
  return commit;
}

void Cache::write_ref(const std::string& revision, const std::string& commit) const {
  if (is_commit(revision) || ref(revision) == commit) return;
  const fs::path file = folder_ / "refs" / revision;
  // Collected where no scan of the cache takes a leftover for a revision.
  const fs::path beside = folder_ / "trees" / (own_mark() + ".tmp");
  make_folder(file.parent_path());
  make_folder(beside.parent_path());
  write_file_atomic(beside, commit, "ref");
  if (::rename(beside.c_str(), file.c_str()) != 0) {
    const int why = errno;
    ::unlink(beside.c_str());
    fail("cannot write ", file.string(), ": ", std::strerror(why));
  }
}

std::optional<Tree> Cache::read_tree(const std::string& commit) const {
  RUSHES_CHECK(is_commit(commit), commit);
  const fs::path file = folder_ / "trees" / (commit + ".json");
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return {};
  try {
    return tree_from(parse_json(read_file(file, kMostTreeBytes), file.string()));
  } catch (const UserError& wrong) {
    log_warning(file.string(), " is not used: ", wrong.what());
  } catch (const nlohmann::json::exception&) {
    log_warning(file.string(), " is not used: it is no list of a commit's files");
  }
  return {};
}

void Cache::write_tree(const std::string& commit, const Tree& tree) const {
  const fs::path file = folder_ / "trees" / (commit + ".json");
  make_folder(file.parent_path());
  write_file_atomic(file, tree_json(tree).dump(1), own_mark());
}

bool Cache::has_blob(const TreeFile& file) const {
  std::error_code error;
  const fs::path path = blob(file.etag());
  return fs::is_regular_file(path, error) && fs::file_size(path, error) == file.size;
}

std::string Cache::trouble(const std::string& commit, const std::string& path, const TreeFile& file) const {
  const fs::path at = place(commit, path);
  std::error_code error;
  const fs::file_status itself = fs::symlink_status(at, error);
  if (itself.type() == fs::file_type::not_found) return "is missing";
  const fs::file_status content = fs::status(at, error);
  if (content.type() == fs::file_type::not_found) return "is a link to nothing";
  if (content.type() == fs::file_type::none) return "cannot be read: " + error.message();
  if (!fs::is_regular_file(content)) return "is no file";
  const uint64_t size = fs::file_size(at, error);
  if (error) return "cannot be read: " + error.message();
  if (size != file.size)
    return str("has ", size, size < file.size ? " of " : " bytes and not ", file.size, " bytes");
  if (fs::is_symlink(itself) && fs::read_symlink(at, error).filename() != file.etag())
    return "is a link to something else than the Hub lists";
  return {};
}

void Cache::link(const std::string& commit, const std::string& path, const TreeFile& file) const {
  const fs::path at = place(commit, path);
  fs::path target;
  for (auto depth = 2 + std::count(path.begin(), path.end(), '/'); depth > 0; --depth)
    target /= "..";
  target = target / "blobs" / file.etag();
  make_folder(at.parent_path());
  if (::symlink(target.c_str(), at.c_str()) == 0) return;
  const int why = errno;
  std::error_code error;
  const fs::file_status there = fs::symlink_status(at, error);
  if (fs::is_symlink(there) && fs::read_symlink(at, error) == target) return;
  // A link to an older blob goes, and a file that a crash left empty; what else is no link is not ours to
  // remove.
  const bool ours = fs::is_symlink(there) || (fs::is_regular_file(there) && fs::file_size(at, error) == 0);
  if (why == EEXIST && !ours)
    fail(at.string(),
         " is not what the Hub has, and no link of the cache's: remove it, and the next start links the "
         "right file there");
  if (why != EEXIST || ::unlink(at.c_str()) != 0 || ::symlink(target.c_str(), at.c_str()) != 0)
    fail("cannot make the link ", at.string(), ": ", std::strerror(errno));
}

void Cache::make_folders(const std::string& commit) const {
  make_folder(folder_ / "blobs");
  make_folder(snapshot(commit));
  make_folder(locks_);
  const fs::path tag = settings_.cache / "CACHEDIR.TAG";
  std::error_code error;
  if (fs::exists(fs::symlink_status(tag, error))) return;
  try {
    write_file_atomic(tag, kCacheTag, own_mark());
  } catch (const UserError& wrong) {  // in another's cache; models are read and fetched without it
    log_debug(wrong.what());
  }
}

FileLock Cache::lock(const std::string& name, const Cancel& cancel) const {
  return {locks_ / (name + ".lock"), settings_.wait_seconds, cancel,
          [this] { return bytes_in(folder_ / "blobs") + beats_in(locks_, folder_ / "snapshots"); }};
}

uint64_t Cache::free_bytes() const {
  struct statvfs info {};
  if (::statvfs((folder_ / "blobs").c_str(), &info) != 0) return std::numeric_limits<uint64_t>::max();
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

std::vector<std::string> cached_models(const Settings& settings) {
  std::vector<std::string> models;
  std::error_code error;
  for (fs::directory_iterator at(settings.cache, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(kFolderStart)) continue;
    const std::string model = name.substr(sizeof kFolderStart - 1);
    const size_t between = model.find("--");
    if (between == std::string::npos) continue;
    const std::string id = model.substr(0, between) + "/" + model.substr(between + 2);
    if (looks_like_model_id(id)) models.push_back(id);
  }
  std::sort(models.begin(), models.end());
  return models;
}

}  // namespace rushes::hub
