#include "jobs/output_check.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <unordered_set>

#include "base/file.h"
#include "jobs/ledger.h"
#include "jobs/output_folder.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

/// Folders of the output that are there already must take new files too.
void check_parts(const Job& job, const fs::path& root, Problems& problems) {
  std::vector<std::string> parts = {"items", "logs"};
  for (const std::string& output : outputs_of("x", job))
    parts.push_back(output.substr(0, output.find('/')));
  for (const char* own : {"", "claims", "owners", "work", "deaths"})
    parts.push_back(str(".rushes/", own));
  if (job.kind == JobKind::regress) parts.push_back("report");
  if (saves_hdf5(job)) parts.push_back("hdf5/spool");
  for (const std::string& part : parts) {
    const fs::path path = root / part;
    std::error_code error;
    if (!fs::exists(fs::symlink_status(path, error))) continue;
    if (!fs::is_directory(path, error)) {
      problems.add(path.string(), " is in the way: a folder of that name is needed");
    } else if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0) {
      problems.add(path.string(), " cannot be written: ", std::strerror(errno));
    }
  }
}

/// What lies in the folders of records and of the job's outputs and is not of their kind, as "videos/x.mp4".
/// Ordinarily nothing, however many items there are.
std::set<std::string> odd_entries(const Job& job, const fs::path& root) {
  std::set<std::string> odd;
  std::vector<std::string> outputs = outputs_of("x", job);
  outputs.push_back("items/x");
  for (const std::string& output : outputs) {
    const std::string part = output.substr(0, output.find('/'));
    const bool folders = output.back() == '/';
    std::error_code error, ignored;
    for (fs::directory_iterator at(root / part, error), end; !error && at != end; at.increment(error)) {
      const fs::file_type type = at->status(ignored).type();  // of what a link leads to
      const bool good = type == (folders ? fs::file_type::directory : fs::file_type::regular);
      // A link into nothing can be replaced by a file.
      if (!good && (folders || type != fs::file_type::not_found))
        odd.insert(part + "/" + at->path().filename().string());
    }
  }
  return odd;
}

/// Where a record or an output is to come, nothing of another kind may lie: a folder cannot be replaced by a
/// file.
void check_places(const ResolvedJob& job, const fs::path& root, Problems& problems) {
  for (const char* own : {"job.yaml", "events.jsonl", "failed.jsonl", ".rushes/lock", ".rushes/manifest.json",
                          ".rushes/restarts.json", ".rushes/fresh.json"}) {
    std::error_code error;
    if (fs::exists(root / own, error) && !fs::is_regular_file(root / own, error))
      problems.add((root / own).string(), " is no file; move it away");
  }
  std::error_code error;
  if (saves_hdf5(job.job) && fs::is_directory(root / "dataset.h5", error))
    problems.add((root / "dataset.h5").string(), " is a folder; move it away: the data set belongs there");
  for (fs::directory_iterator at(root / "hdf5/spool", error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    const std::string name = at->path().filename().string();
    const bool slot = name.find_first_not_of("0123456789") == std::string::npos;
    const bool folder = at->is_directory(ignored);
    if (slot ? !folder : folder && name.ends_with(".lock"))
      problems.add(at->path().string(), " is not what belongs there; move it away");
  }
  const std::set<std::string> odd = odd_entries(job.job, root);
  const auto check = [&](std::string place) {
    const bool folder = place.back() == '/';
    if (folder) place.pop_back();
    if (odd.count(place) == 0) return;
    problems.add((root / place).string(), " is no ", folder ? "folder" : "file",
                 "; move it away: an item's result belongs there");
  };
  for (size_t i = 0; i < job.items.size() && !odd.empty(); ++i) {
    check(str("items/", job.items[i].id, ".json"));
    for (const std::string& output : outputs_of(job.items[i].id, job.job))
      check(output);
  }
}

void add_names(const fs::path& folder, const std::string& before, std::unordered_set<std::string>& names) {
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.insert(before + at->path().filename().string());
}

}  // namespace

bool is_of_a_run(const fs::path& root) {
  std::error_code error;
  return fs::exists(root / ".rushes", error) || fs::exists(root / "items", error);
}

std::vector<std::string> foreign_results(const ResolvedJob& job) {
  const fs::path root = job.job.output;
  std::vector<std::string> found;
  // In this order: who publishes meanwhile holds the claim until the record is there.
  std::unordered_set<std::string> results, claims, records;
  for (const char* kind : {"videos", "latents", "frames"})
    add_names(root / kind, str(kind, "/"), results);
  if (results.empty()) return found;
  const OutputFolder folder = OutputFolder::view(root);
  add_names(folder.claims(), "", claims);
  add_names(root / "items", "", records);
  for (const Item& item : job.items) {
    if (claims.count(item.id) > 0 || records.count(item.id + ".json") > 0) continue;
    for (const std::string& path :
         {OutputFolder::video_path(item.id, job.job.video.container), OutputFolder::latents_path(item.id),
          OutputFolder::frames_path(item.id)}) {
      if (results.count(path) > 0) found.push_back(path);
    }
  }
  return found;
}

std::string some_of(const std::vector<std::string>& results, const std::string& output) {
  const std::string first = (fs::path(output) / results.at(0)).string();
  return results.size() == 1 ? first : str(first, " (and ", results.size() - 1, " more)");
}

void check_output(const ResolvedJob& job, bool fresh, Problems& problems) {
  const fs::path root = job.job.output;
  Problems found;
  const std::string impossible = folder_problem(root);
  if (!impossible.empty()) {
    found.add(root.string(), " cannot be written: ", impossible);
  } else {
    check_parts(job.job, root, found);
    check_places(job, root, found);
  }
  if (found.empty() && !fresh && !is_of_a_run(root)) {
    std::vector<std::string> foreign = foreign_results(job);
    std::error_code error;
    for (const char* own : {"job.yaml", "failed.jsonl"}) {
      if (fs::exists(root / own, error)) foreign.emplace_back(own);
    }
    if (!foreign.empty())
      found.add(some_of(foreign, job.job.output),
                " is of no run, and this one would replace it; move it away, ",
                "choose another output folder, or let --fresh replace it");
  }
  if (is_of_a_run(root)) {
    try {
      check_folder_identity(job, OutputFolder::view(root));
    } catch (const UserError& error) {
      for (const std::string& problem : error.problems())
        found.add(problem);
    }
  }
  const auto source = job.job.sources.find("output");
  const std::string where = source == job.job.sources.end() ? "" : source->second + ": ";
  for (const std::string& problem : found.list())
    problems.add(where, "output: ", problem);
}

void require_output(const ResolvedJob& job, bool fresh) {
  Problems problems;
  check_output(job, fresh, problems);
  problems.throw_if_any();
}

}  // namespace rushes
