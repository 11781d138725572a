#include "weights/hub/pull.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "weights/hub/api.h"
#include "weights/hub/cache.h"
#include "weights/hub/content_hash.h"
#include "weights/hub/download.h"
#include "weights/hub/needed_files.h"
#include "weights/hub/pull_progress.h"
#include "weights/words.h"

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
  bool may_be_whole(const std::string& commit) const;
  void fetch(const std::string& commit);
  void check_space(const std::vector<Wanted>& missing) const;
  void note_ref(const std::string& commit) const;
  [[noreturn]] void fail_offline(const std::string& why) const;

  const ModelId& model_;
  const Settings& settings_;
  const PullOptions& options_;
  const Cache cache_;
  const Cancel cancel_;
};

void Puller::fail_offline(const std::string& why) const {
  fail("model ", model_.text(), " is not wholly in the cache ", settings_.cache.string(), ", and ", why,
       ": fetch it where there is a network, with 'rushes weights pull ", model_.text(),
       "' and this HF_HUB_CACHE, or copy ", cache_.folder().filename().string(), " there");
}

/// Everything that the commit's list of files says is needed.
bool Puller::is_whole(const std::string& commit) const {
  const auto tree = cache_.read_tree(commit);
  return tree && missing_files(cache_, *tree, commit, model_.name).empty();
}

/// Without a list of files (older programs write none) the folder must do as it is; what lacks is said when
/// the model is opened.
bool Puller::may_be_whole(const std::string& commit) const {
  std::error_code error;
  if (cache_.read_tree(commit)) return is_whole(commit);
  return fs::is_regular_file(cache_.snapshot(commit) / "model_index.json", error);
}

/// The revision's commit: as named, as the Hub says, or (where it says nothing) as it was when last asked.
std::string Puller::find_commit() {
  if (is_commit(model_.revision)) return model_.revision;
  const auto known = cache_.ref(model_.revision);
  if (settings_.offline) {
    if (!known) fail_offline("HF_HUB_OFFLINE forbids to ask the Hub");
    return *known;
  }
  try {
    return Api(settings_, model_, cancel_).commit();
  } catch (const Unreachable& error) {
    if (!known || !may_be_whole(*known)) throw;
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

/// With the commit's lock held.
void Puller::fetch(const std::string& commit) {
  auto tree = cache_.read_tree(commit);
  if (!tree) {
    tree = Api(settings_, model_, cancel_).tree(commit);
    cache_.write_tree(commit, *tree);
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
    download({settings_, cache_, model_, commit, progress, options_.stop}, std::move(missing));
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

Pulled Puller::pull() {
  const std::string commit = find_commit();
  const Pulled pulled{model_, commit, cache_.snapshot(commit)};
  if (settings_.offline) {
    if (!may_be_whole(commit)) fail_offline("HF_HUB_OFFLINE forbids to ask the Hub");
    return pulled;
  }
  if (!is_whole(commit)) {
    try {
      cache_.make_folders(commit);
      const FileLock lock = cache_.lock(commit, cancel_);
      if (!is_whole(commit)) fetch(commit);
    } catch (const Unreachable& error) {
      // A list of files is missing, but the folder may be from an older program, and whole.
      if (cache_.read_tree(commit) || !may_be_whole(commit)) throw;
      log_warning(error.what(), "; going on with what is in ", pulled.folder.string());
    }
  }
  note_ref(commit);
  return pulled;
}

}  // namespace

Pulled pull(const ModelId& model, const Settings& settings, const PullOptions& options) {
  return Puller(model, settings, options).pull();
}

std::vector<CachedCommit> list_cached(const Settings& settings) {
  std::vector<CachedCommit> list;
  for (const std::string& name : cached_models(settings)) {
    const Cache cache(settings, {name});
    std::map<std::string, std::string> revisions;  // of commits
    const fs::path refs = cache.folder() / "refs";
    std::error_code error, ignored;
    for (fs::recursive_directory_iterator at(refs, error), end; !error && at != end; at.increment(error)) {
      const std::string revision = at->path().lexically_relative(refs).string();
      if (!at->is_regular_file(ignored) || wrong_path(revision)) continue;
      if (const auto commit = cache.ref(revision)) revisions[*commit] = revision;
    }
    error.clear();
    for (fs::directory_iterator at(cache.folder() / "snapshots", error), end; !error && at != end;
         at.increment(error)) {
      const std::string commit = at->path().filename().string();
      if (!is_commit(commit)) continue;
      const auto revision = revisions.find(commit);
      CachedCommit row{{name, revision == revisions.end() ? commit : revision->second}, commit, {}, 0, false};
      if (const auto tree = cache.read_tree(commit)) {
        try {
          row.files = needed_files(*tree, cache.snapshot(commit), name);
          row.whole = true;
          for (const std::string& path : row.files) {
            const bool there = cache.in_place(commit, path, tree->at(path));
            row.bytes += there ? tree->at(path).size : 0;
            row.whole = row.whole && there;
          }
        } catch (const UserError&) {  // no pipeline that Rushes could read
          row.files.clear();
          row.whole = false;
        }
      }
      list.push_back(std::move(row));
    }
  }
  return list;
}

size_t verify(const ModelId& model, const Settings& settings) {
  const Cache cache(settings, model);
  const auto commit = cache.ref(model.revision);
  const auto tree = commit ? cache.read_tree(*commit) : std::nullopt;
  const std::string pull_it = "'rushes weights pull " + model.text() + "'";
  if (!tree) fail("model ", model.text(), " is not in the cache ", settings.cache.string(), ": ", pull_it);
  Problems problems;
  const std::vector<std::string> files = needed_files(*tree, cache.snapshot(*commit), model.name);
  for (const std::string& path : files) {
    const TreeFile& file = tree->at(path);
    const fs::path at = cache.snapshot(*commit) / path;
    if (!cache.in_place(*commit, path, file)) {
      problems.add(at.string(), " is missing or not of ", file.size, " bytes: ", pull_it, " fetches it");
    } else if (const std::string hash = hash_of_file(at, file.etag(), file.size); hash != file.etag()) {
      std::error_code error;
      problems.add(at.string(), " is damaged: its bytes hash to ", hash, ", not ", file.etag(), "; remove ",
                   fs::canonical(at, error).string(), ", then ", pull_it, " fetches it again");
    }
  }
  problems.throw_if_any();
  return files.size();
}

}  // namespace rushes::hub
