#include "weights/hub/cached.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "weights/hub/cache.h"
#include "weights/hub/content_hash.h"
#include "weights/hub/needed_files.h"

namespace rushes::hub {
namespace {

namespace fs = std::filesystem;

/// Branches and tags by the commit that they were when last asked for.
std::map<std::string, std::vector<std::string>> revisions_in(const Cache& cache) {
  std::map<std::string, std::vector<std::string>> revisions;
  const fs::path refs = cache.folder() / "refs";
  std::error_code error, ignored;
  for (fs::recursive_directory_iterator at(refs, error), end; !error && at != end; at.increment(error)) {
    const std::string revision = at->path().lexically_relative(refs).string();
    if (!at->is_regular_file(ignored) || wrong_path(revision)) continue;
    if (const auto commit = cache.ref(revision)) revisions[*commit].push_back(revision);
  }
  for (auto& [commit, names] : revisions)
    std::sort(names.begin(), names.end());
  return revisions;
}

std::vector<std::string> commits_in(const Cache& cache) {
  std::vector<std::string> commits;
  std::error_code error;
  for (fs::directory_iterator at(cache.folder() / "snapshots", error), end; !error && at != end;
       at.increment(error)) {
    const std::string commit = at->path().filename().string();
    if (is_commit(commit)) commits.push_back(commit);
  }
  std::sort(commits.begin(), commits.end());
  return commits;
}

uint64_t bytes_of_blobs(const Cache& cache) {
  uint64_t sum = 0;
  std::error_code error, ignored;
  for (fs::directory_iterator at(cache.folder() / "blobs", error), end; !error && at != end;
       at.increment(error)) {
    const uint64_t size = at->file_size(ignored);
    sum += ignored ? 0 : size;
  }
  return sum;
}

/// Which of the files that its list names are needed, there and whole.
void look_at_files(const Cache& cache, CachedCommit& row) {
  const auto tree = cache.read_tree(row.commit);
  if (!tree) return;
  row.listed = true;
  row.all_known = true;
  try {
    for (const std::string& path : needed_files(*tree, cache.snapshot(row.commit), row.name)) {
      const TreeFile& file = tree->at(path);
      const std::string trouble = cache.trouble(row.commit, path, file);
      ++row.files;
      row.all_bytes += file.size;
      if (trouble.empty()) {
        ++row.there;
        row.bytes += file.size;
        continue;
      }
      row.troubles.push_back(path + " " + trouble);
      row.all_known = row.all_known && !is_index_file(path);
    }
  } catch (const UserError& error) {
    for (const std::string& path : damaged_indices(cache, *tree, row.commit))
      row.troubles.push_back(path + " is damaged");
    row.all_known = row.troubles.empty();
    if (row.troubles.empty()) row.refusal = error.problems().front();
  }
}

/// Of a commit whose list of files is here, or UserError that says what lacks.
Tree tree_to_verify(const Cache& cache, const ModelId& model, const std::string& folder,
                    std::string& commit) {
  const std::string pull_it = "'rushes weights pull " + model.text() + "'";
  const auto known = cache.ref(model.revision);
  const std::vector<std::string> commits = commits_in(cache);
  if (known && std::find(commits.begin(), commits.end(), *known) != commits.end()) {
    commit = *known;
    if (auto tree = cache.read_tree(commit)) return std::move(*tree);
    fail("model ", model.name, "@", commit, " is in the cache ", folder,
         " without the list of its files, so there is nothing to compare with: ", pull_it,
         " fetches the list");
  }
  if (known || commits.empty() || is_commit(model.revision))
    fail("model ", model.text(), " is not in the cache ", folder, ": ", pull_it, " fetches it");
  fail("the cache ", folder, " does not say which commit '", model.revision, "' of ", model.name,
       " is, and holds ", join(commits, ", "), ": verify one of them as ", model.name, "@", commits.front(),
       ", or ", pull_it, " asks the Hub");
}

}  // namespace

std::string CachedCommit::text() const {
  if (commit.empty()) return name;
  const bool main = std::find(revisions.begin(), revisions.end(), "main") != revisions.end();
  return ModelId{name, main ? "main" : revisions.empty() ? commit : revisions.front()}.text();
}

std::vector<CachedCommit> list_cached(const Settings& settings) {
  std::vector<CachedCommit> list;
  for (const std::string& name : cached_models(settings)) {
    const Cache cache(settings, {name});
    auto revisions = revisions_in(cache);
    const std::vector<std::string> commits = commits_in(cache);
    for (const std::string& commit : commits) {
      CachedCommit row;
      row.name = name;
      row.commit = commit;
      row.revisions = revisions[commit];
      look_at_files(cache, row);
      list.push_back(std::move(row));
    }
    if (!commits.empty()) continue;
    CachedCommit left;
    left.name = name;
    left.bytes = bytes_of_blobs(cache);
    list.push_back(std::move(left));
  }
  return list;
}

size_t verify(const ModelId& model, const Settings& settings) {
  const Cache cache(settings, model);
  std::string commit;
  const Tree tree = tree_to_verify(cache, model, settings.cache.string(), commit);
  const std::string pull_it = "'rushes weights pull " + model.text() + "'";
  Problems problems;
  const auto damaged = [&](const std::string& path) {
    std::error_code error;
    const fs::path at = cache.snapshot(commit) / path;
    problems.add(at.string(), " is damaged: its bytes are not those of the hash ", tree.at(path).etag(),
                 "; remove ", fs::canonical(at, error).string(), ", then ", pull_it, " fetches it again");
  };
  std::vector<std::string> files;
  try {
    files = needed_files(tree, cache.snapshot(commit), model.name);
  } catch (const UserError&) {
    for (const std::string& path : damaged_indices(cache, tree, commit))
      damaged(path);
    problems.throw_if_any();
    throw;
  }
  for (const std::string& path : files) {
    const TreeFile& file = tree.at(path);
    const fs::path at = cache.snapshot(commit) / path;
    if (const std::string trouble = cache.trouble(commit, path, file); !trouble.empty())
      problems.add(at.string(), " ", trouble, ": ", pull_it, " fetches it",
                   is_index_file(path) ? " and the files that it names" : "");
    else if (hash_of_file(at, file.etag(), file.size) != file.etag())
      damaged(path);
  }
  problems.throw_if_any();
  return files.size();
}

}  // namespace rushes::hub
