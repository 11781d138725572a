#include "weights/hub/pull.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "weights/hub/api.h"
#include "weights/hub/cache.h"
#include "weights/hub/download.h"
#include "weights/hub/needed_files.h"
#include "weights/hub/pull_progress.h"

namespace rushes::hub {
namespace {

namespace fs = std::filesystem;

/// Those of the needed files that are not there.
std::vector<Wanted> missing_files(const Cache& cache, const Tree& tree, const std::string& commit,
                                  const std::string& name) {
  std::vector<Wanted> missing;
  for (const std::string& path : needed_files(tree, cache.snapshot(commit), name)) {
    const TreeFile& file = tree.at(path);
    if (!cache.in_place(commit, path, file)) missing.push_back({path, file});
  }
  return missing;
}

class Puller {
 public:
  Puller(const ModelId& model, const Settings& settings, const PullOptions& options)
      : model_(model),
        settings_(settings),
        options_(options),
        cache_(settings, model),
        cancel_{options.stop, nullptr} {}

  Pulled pull();

 private:
  std::string find_commit();
  bool is_whole(const std::string& commit) const;
  std::vector<std::string> troubles(const std::string& commit) const;
  bool remove_damaged(const std::string& commit) const;
  void remove_damaged_blobs(const std::string& commit, const Tree& tree) const;
  void complete(const std::string& commit);
  void fetch(const std::string& commit, const FileLock& lock);
  void read_only(const std::string& commit, const Unwritable& why) const;
  void check_space(const std::vector<Wanted>& missing) const;
  void note_ref(const std::string& commit) const;
  [[noreturn]] void fail_offline(const std::vector<std::string>& troubles) const;

  const ModelId& model_;
  const Settings& settings_;
  const PullOptions& options_;
  const Cache cache_;
  const Cancel cancel_;
};

void Puller::fail_offline(const std::vector<std::string>& troubles) const {
  const std::string what = troubles.empty() ? std::string()
                           : troubles.size() == 1
                               ? str(" (", troubles[0], ")")
                               : str(" (", troubles[0], ", and ", troubles.size() - 1, " more)");
  fail("model ", model_.text(), " is not wholly in the cache ", settings_.cache.string(), what,
       ", and HF_HUB_OFFLINE forbids to ask the Hub: fetch it where there is a network, with 'rushes weights "
       "pull ",
       model_.text(), "' and this HF_HUB_CACHE, or copy ", cache_.folder().filename().string(), " there");
}

/// Everything that the commit's list of files says is needed.
bool Puller::is_whole(const std::string& commit) const {
  const auto tree = cache_.read_tree(commit);
  return tree && missing_files(cache_, *tree, commit, model_.name).empty();
}

/// What keeps the commit from being used as it lies here, file by file. Without a list of files (older
/// programs write none) the folder must do as it is; what else lacks is said when the model is opened.
std::vector<std::string> Puller::troubles(const std::string& commit) const {
  std::vector<std::string> found;
  if (const auto tree = cache_.read_tree(commit)) {
    try {
      for (const Wanted& wanted : missing_files(cache_, *tree, commit, model_.name))
        found.push_back(wanted.path + " " + cache_.trouble(commit, wanted.path, wanted.file));
    } catch (const UserError&) {
      for (const std::string& path : damaged_indices(cache_, *tree, commit))
        found.push_back(path + " is damaged");
      if (found.empty()) throw;
    }
    return found;
  }
  std::error_code error;
  const fs::path snapshot = cache_.snapshot(commit);
  if (!fs::is_regular_file(snapshot / "model_index.json", error))
    found.emplace_back("model_index.json is missing");
  for (fs::recursive_directory_iterator at(snapshot, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    const fs::path path = at->path().lexically_relative(snapshot);
    if (is_index_file(path.string()) && at->is_regular_file(gone) && at->file_size(gone) == 0)
      found.push_back(path.string() + " is empty");
  }
  return found;
}

/// The revision's commit: as named, as the Hub says, or (where it says nothing) as it was when last asked.
std::string Puller::find_commit() {
  if (is_commit(model_.revision)) return model_.revision;
  const auto known = cache_.ref(model_.revision);
  if (settings_.offline) {
    if (!known) fail_offline({});
    return *known;
  }
  try {
    return Api(settings_, model_, cancel_).commit();
  } catch (const Unreachable& error) {
    if (!known || !troubles(*known).empty()) throw;
    log_warning(error.what(), "; going on with ", model_.name, "@", *known,
                ", which the revision was when last asked for");
    return *known;
  }
}

void Puller::check_space(const std::vector<Wanted>& missing) const {
  uint64_t bytes = 0;
  std::set<std::string> counted;
  for (const Wanted& wanted : missing) {
    std::error_code error;
    const uint64_t there = fs::file_size(cache_.incomplete(wanted.file.etag(), /*alone=*/true), error);
    if (cache_.has_blob(wanted.file) || !counted.insert(wanted.file.etag()).second) continue;
    bytes += wanted.file.size - (error ? 0 : std::min(there, wanted.file.size));
  }
  const uint64_t free = cache_.free_bytes();
  if (bytes > free)
    fail("model ", model_.text(), ": ", bytes_text(bytes), " are still to come and ",
         settings_.cache.string(), " has room for ", bytes_text(free),
         ": free some, or set HF_HUB_CACHE to a folder on another disk");
}

/// With the commit's lock held; while nothing comes, that lock shows others that this process goes on.
void Puller::fetch(const std::string& commit, const FileLock& lock) {
  const Heartbeat heartbeat = [&lock] { lock.touch(); };
  auto tree = cache_.read_tree(commit);
  if (!tree) {
    tree = Api(settings_, model_, cancel_, heartbeat).tree(commit);
    try {
      cache_.write_tree(commit, *tree);
    } catch (const UserError& error) {  // where that matters, the files cannot be written either
      log_debug(error.what());
    }
  }
  PullProgress progress(model_.name, options_.quiet);
  bool told = options_.quiet;
  // First what names others, then those: see needed_files.
  for (auto missing = missing_files(cache_, *tree, commit, model_.name); !missing.empty();
       missing = missing_files(cache_, *tree, commit, model_.name)) {
    cancel_.check();
    check_space(missing);
    if (!told) log_info("fetching ", model_.name, "@", commit, " into ", cache_.folder().string());
    told = true;
    uint64_t bytes = 0;
    for (const Wanted& wanted : missing)
      bytes += wanted.file.size;
    progress.expect(missing.size(), bytes);
    download({settings_, cache_, model_, commit, progress, heartbeat, options_.stop}, std::move(missing));
  }
  progress.end();
}

/// A cache that cannot be written may still be read.
void Puller::note_ref(const std::string& commit) const {
  try {
    cache_.write_ref(model_.revision, commit);
  } catch (const UserError& error) {
    log_debug(error.what());
  }
}

/// An index may be of the right size and yet no JSON (a crash can leave zeros): it goes, to be fetched again.
/// False where none is such.
bool Puller::remove_damaged(const std::string& commit) const {
  const auto tree = cache_.read_tree(commit);
  if (!tree) return false;
  const std::vector<std::string> damaged = damaged_indices(cache_, *tree, commit);
  if (damaged.empty()) return false;
  try {
    cache_.make_folders(commit);
    remove_damaged_blobs(commit, *tree);
  } catch (const Unwritable& error) {
    fail((cache_.snapshot(commit) / damaged[0]).string(),
         " is damaged and cannot be fetched again: ", error.what());
  }
  return true;
}

void Puller::remove_damaged_blobs(const std::string& commit, const Tree& tree) const {
  const FileLock lock = cache_.lock(commit, cancel_);
  for (const std::string& path : damaged_indices(cache_, tree, commit)) {
    const TreeFile& file = tree.at(path);
    log_warning((cache_.snapshot(commit) / path).string(), " is damaged: it is fetched again");
    const FileLock of_blob = cache_.lock(file.etag(), cancel_);
    std::error_code error;
    fs::remove(cache_.blob(file.etag()), error);
  }
}

/// Nothing can be written to the cache, so nobody fetches into it: what is there is read without a lock.
void Puller::read_only(const std::string& commit, const Unwritable& why) const {
  const auto known = cache_.read_tree(commit);
  const Tree tree = known ? *known : Api(settings_, model_, cancel_).tree(commit);
  const std::vector<Wanted> missing = missing_files(cache_, tree, commit, model_.name);
  if (!missing.empty())
    fail(why.what(), " (", missing[0].path, " of ", model_.name, "@", commit, " ",
         cache_.trouble(commit, missing[0].path, missing[0].file), ")");
  log_debug(why.what(), "; all of ", model_.name, "@", commit, " is there");
}

void Puller::complete(const std::string& commit) {
  try {
    cache_.make_folders(commit);
    const FileLock lock = cache_.lock(commit, cancel_);
    if (!is_whole(commit)) fetch(commit, lock);
  } catch (const Unwritable& error) {
    read_only(commit, error);
  }
}

Pulled Puller::pull() {
  const std::string commit = find_commit();
  const Pulled pulled{model_, commit, cache_.snapshot(commit)};
  if (settings_.offline) {
    if (const auto found = troubles(commit); !found.empty()) fail_offline(found);
    return pulled;
  }
  bool whole = false;
  try {
    whole = is_whole(commit);
  } catch (const UserError&) {
    // Where nothing damaged is found another has just removed it: complete() looks again, under the lock.
    remove_damaged(commit);
  }
  try {
    if (!whole) complete(commit);
  } catch (const Unreachable& error) {
    // A list of files is missing, but the folder may be from an older program, and whole.
    if (cache_.read_tree(commit) || !troubles(commit).empty()) throw;
    log_warning(error.what(), "; going on with what is in ", pulled.folder.string());
  }
  note_ref(commit);
  return pulled;
}

}  // namespace

Pulled pull(const ModelId& model, const Settings& settings, const PullOptions& options) {
  return Puller(model, settings, options).pull();
}

}  // namespace rushes::hub
