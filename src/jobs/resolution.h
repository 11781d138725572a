#pragma once
// What a job leaves open, decided: device, number formats, attention backend, names in `output`. And the
// resolved job written down.

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/job_file.h"
#include "jobs/job.h"
#include "jobs/request_hash.h"

namespace rushes {

/// Device: `auto` is cuda where there is a GPU. Precision: CPU float32; CUDA bfloat16 with VAE float32.
/// Attention: `auto` is flash on the CPU, sdpa on a GPU. Notes a device that is not here, unless
/// `device_elsewhere`.
PipelineOptions resolve_options(const JobFile& job, bool device_elsewhere, const std::string& where,
                                Problems& problems);

/// The name of a model's folder or repository: {model}.
std::string model_name(const std::string& model);

/// `output` with {date}, {job} (the job file's name) and {model} (its folder's or repository's name) filled
/// in; an unknown {word} is noted.
std::string fill_output(const JobFile& job, const std::filesystem::path& file, const std::string& date,
                        const std::string& where, Problems& problems);

/// Today in UTC, so that ranks on several nodes agree: "2026-11-21".
std::string today();

/// The job with everything `options` decided put into it.
JobFile with_options(JobFile job, const PipelineOptions& options);

/// Every key with its value and where it came from. `given` tells what was left open in the file.
std::vector<SettingRow> setting_rows(const JobFile& given, const JobFile& resolved,
                                     const std::map<std::string, std::string>& sources);

/// Of the rows, the sampling keys that a --set document gives and a prompt's own line too (`own_keys`, see
/// Item): as keys of the job file's `override`, since the line would else count more.
std::vector<SettingRow> override_rows(const std::vector<SettingRow>& rows, const std::vector<Value>& set,
                                      uint64_t own_keys);
/// What any of the items' prompt lines gives itself.
uint64_t own_keys_of(const std::vector<Item>& items);

/// The rows as a job file that can be run, each with its source as a comment.
std::string rows_to_yaml(const std::vector<SettingRow>& rows, const std::string& title);

RequestFacts request_facts(const JobFile& job, const PipelineOptions& options,
                           const std::string& fingerprint);

}  // namespace rushes
