#pragma once
// What the commands about a job have in common: JOB, --set and --device.

#include <cxxopts.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "jobs/clusters.h"
#include "jobs/job.h"

namespace rushes {

void add_job_options(cxxopts::Options& options);
void add_set_option(cxxopts::Options& options);
void add_device_option(cxxopts::Options& options);

/// Every --set in its order, into `overrides`. Notes what is wrong.
void read_set_options(const cxxopts::ParseResult& parsed, JobOverrides& overrides, Problems& problems);

/// The job file; --set goes into `overrides`. Notes what is wrong. `command` is "run", `done` what happens to
/// the job: "run", "planned".
std::string read_job_options(const cxxopts::ParseResult& parsed, const std::string& command,
                             const std::string& done, JobOverrides& overrides, Problems& problems);

/// --device: the cluster that it names, for which `overrides` make the job; nothing where it was not given or
/// names none, which is noted.
std::optional<Cluster> read_device_option(const cxxopts::ParseResult& parsed, JobOverrides& overrides,
                                          Problems& problems);

}  // namespace rushes
