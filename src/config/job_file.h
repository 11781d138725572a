#pragma once
// The job file's keys: tables, and the plain struct they fill. See README, "The job file".

#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "config/settings.h"

namespace rushes {

/// A job as the file and --set have it: single values are checked, what they mean together is not.
struct JobFile {
  JobKind kind = JobKind::generate;
  std::string model;  // a folder or org/name[@revision]
  Value prompts;      // a text (path) or a list
  std::string output;
  std::vector<std::string> save = {"video"};
  VideoOptions video;
  Sampling sampling;
  Parallel parallel;
  Precision precision;
  std::string attention = "auto";
  DeviceKind device = DeviceKind::automatic;
  Numerics numerics = Numerics::diffusers;
  Regression regression;
  DatasetOptions dataset;
  Submission cluster;
  VaeTiling vae_tiling = VaeTiling::automatic;
  int64_t retries = 2;
  std::string metrics;  // file or folder for Prometheus; "": metrics.prom in the output folder
  std::vector<std::string> reject = {"black", "noise"};  // pictures that make an item a failed one
  int64_t checkpoint_seconds = 300;  // between checkpoints of a clip; 0: only where a run is stopped
};

const Fields<Sampling>& sampling_fields();
const Fields<VideoOptions>& video_fields();
const Fields<Parallel>& parallel_fields();
const Fields<Precision>& precision_fields();
const Fields<Regression>& regression_fields();
const Fields<DatasetOptions>& dataset_fields();
const Fields<Submission>& cluster_fields();
const Fields<JobFile>& job_fields();

/// Is an H.264 video made of each clip?
bool makes_video(const std::vector<std::string>& save, const DatasetOptions& dataset);

/// Reads the document over what `job` has. A known sampling, video, ... key that stands at the top level (or
/// the other way round) is told where it belongs.
void read_job(const Value& document, JobFile& job, Reading& reading);

/// "a.b" and a value -> {a: {b: value}}. The value counts as written without quotes.
Value nested(const std::string& path, Value value);

}  // namespace rushes
