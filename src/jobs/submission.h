#pragma once
// `rushes submit`: the sbatch script of a job, from slurm/job.sbatch, the site's settings and the job's.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "jobs/job.h"
#include "planner/planner.h"

namespace rushes {

struct SubmissionRequest {
  std::filesystem::path job_file;                        // as given; relative to `folder`
  std::vector<std::pair<std::string, std::string>> set;  // --set, in order
  std::filesystem::path folder;                          // whence the batch runs; whole path
  std::filesystem::path program;                         // build/rushes; whole path
};

/// Ranks of one batch job.
int64_t ranks_of(const Submission& cluster);

/// The script. Every word of the template is filled in; a line of #SBATCH whose value is empty is left out.
/// Notes values that cannot stand in a script (line breaks, spaces, quotes), naming the key.
std::string submission_script(const ResolvedJob& job, const SubmissionRequest& request, Problems& problems);

/// slurm/job.sbatch, or what else a template is, filled in: `template_text` with each @word@ of `words`
/// replaced by its value, see submission_script.
std::string fill_script(const std::string& template_text,
                        const std::vector<std::pair<std::string, std::string>>& words);

/// Makes OUTPUT/logs and OUTPUT/slurm, writes the script into the latter; gives its path. Throws UserError.
std::filesystem::path write_script(const ResolvedJob& job, const std::string& script);

/// The line for cron, and those for scrontab, that submit the job every night at `time` ("02:00").
std::string nightly_lines(const ResolvedJob& job, const SubmissionRequest& request, const std::string& time);

/// What the batch will take, for people: items, ranks, layout, predicted time beside the limit.
std::vector<std::string> submission_summary(const ResolvedJob& job, const PlanAnswer* plan);

}  // namespace rushes
