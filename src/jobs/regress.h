#pragma once
// An output folder beside its references: what `job: regress` does at its end, and `rushes compare` and
// `rushes bless` do alone.

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "jobs/job.h"
#include "regression/comparison.h"

namespace rushes {

/// The clips of an output folder, as its records have them: those of the latest job over it. Throws UserError
/// where `output` is no output folder.
std::vector<ClipFiles> clips_of_output(const std::filesystem::path& output);
/// The clips of a job that has run, with their own thresholds.
std::vector<ClipFiles> clips_of_job(const ResolvedJob& job);

/// Compares, writes report/ into the output folder and a line into the references' history, and logs the
/// summary and what did not pass. Throws UserError where nothing can be compared, StoppedEarly where
/// `stopped` says so.
Comparison compare_output(const std::filesystem::path& output, const std::vector<ClipFiles>& clips,
                          const std::filesystem::path& references, const Thresholds& thresholds,
                          const std::function<bool()>& stopped);

/// The thresholds that the job of an output folder asks for (its job.yaml); where it says nothing, the
/// default, with a warning. Throws UserError where it cannot be read: nobody knows then what is good enough.
Thresholds thresholds_of_output(const std::filesystem::path& output);
Thresholds thresholds_of(const ResolvedJob& job);

/// `rushes compare`: exit code 0, or 3 where a clip did not pass.
int compare_command_work(const std::filesystem::path& output, const std::filesystem::path& references,
                         std::optional<double> min_ssim);

struct BlessRequest {
  std::filesystem::path output;
  std::filesystem::path references;
  std::vector<std::string> only;                // ids; empty: every clip
  std::optional<double> model_min_ssim;         // becomes the threshold of the model
  bool drop_missing = false;                    // references without a clip go
  std::optional<std::filesystem::path> upload;  // a folder to be made that can be put on a hub
};
/// `rushes bless`: the output's clips become the references; says for each what it was and is. Throws
/// UserError, with nothing changed, where a clip is not made or the folder to upload is there already.
void bless(const BlessRequest& request, std::ostream& out);

/// What is wrong with the job's references before anything runs (nothing given, none for this model, device,
/// number format and attention), into `problems`.
void check_references(const ResolvedJob& job, Problems& problems);

/// How far `count` runs of the same clips (`folders`, the first is what the others are compared with) lie
/// apart, and which min_ssim they can hold; printed to `out`. Throws UserError where clips are not made.
void tell_noise_floor(const std::vector<std::filesystem::path>& folders, std::ostream& out);

}  // namespace rushes
