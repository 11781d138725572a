#pragma once
// What can be wrong with a job's output folder, looked for before anything is written.

#include <filesystem>
#include <string>
#include <vector>

#include "jobs/job.h"

namespace rushes {

/// Notes, at the job's key, what keeps its results out of its output folder: no place or no right to make it,
/// something else where a folder or a result belongs, files of nobody's run, or clips of another model or
/// numerics. `fresh`: files of nobody's run may be replaced.
void check_output(const ResolvedJob& job, bool fresh, Problems& problems);
/// The same as one UserError.
void require_output(const ResolvedJob& job, bool fresh);

/// Is it the folder of a run, so that what lies there without a record may be of one that was killed?
bool is_of_a_run(const std::filesystem::path& root);

/// "videos/a.mp4": files where results of the job's items belong (or would be taken for old ones), and no
/// record or claim says that a run put them there.
std::vector<std::string> foreign_results(const ResolvedJob& job);
/// "out/videos/a.mp4 (and 2 more)"
std::string some_of(const std::vector<std::string>& results, const std::string& output);

}  // namespace rushes
