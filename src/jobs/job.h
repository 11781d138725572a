#pragma once
// A job: what the user asked for, resolved and validated whole. And the items it consists of.
// Order of precedence: defaults < the model's preset in configs/ < the job < the prompt's own line < --set.

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/stop.h"
#include "config/settings.h"
#include "jobs/request_hash.h"
#include "pipelines/pipeline.h"

namespace rushes {

/// One resolved setting and where its value came from, for `plan` and the item records.
struct SettingRow {
  std::string key;     // "sampling.height"
  std::string value;   // as YAML
  std::string source;  // "default", "configs/models/wan.yaml:3", "jobs/demo.yaml:12", "--set"
};

/// One clip of the job.
struct Item {
  std::string id;  // file name of its outputs
  std::string prompt;
  Sampling sampling;               // resolved: own seed, samples = 1
  std::string request_hash;        // 32 hex digits; see "The request hash" in the README
  double flops = 0;                // for longest-first order
  std::string where;               // "prompts.jsonl:7"
  std::optional<double> min_ssim;  // the prompt line's own; not part of the request
  std::string video;               // job: preprocess: the file to encode; "": a clip is made
  nlohmann::json video_facts;      // of it, in the request: bytes and time, as paths may change
  uint64_t own_keys = 0;           // bit i: the prompt line itself gave sampling_fields()[i]
};

struct Job {
  JobKind kind = JobKind::generate;
  std::string model;             // as given: a folder or org/name[@revision]
  std::string weights_revision;  // of a model of the Hub: "org/name@commit"; else ""
  std::string output;            // {date}, {job}, {model} filled in
  std::vector<std::string> save = {"video"};
  VideoOptions video;
  Sampling sampling;  // before the prompts' own lines
  Parallel parallel;
  Precision precision;  // as given; PipelineOptions holds the resolved one
  AttentionBackend attention = AttentionBackend::automatic;
  DeviceKind device = DeviceKind::automatic;
  Numerics numerics = Numerics::diffusers;
  Regression regression;
  DatasetOptions dataset;
  Submission cluster;  // with its site's settings, where JobOverrides::submission was asked for
  VaeTiling vae_tiling = VaeTiling::automatic;
  int64_t retries = 2;
  int64_t checkpoint_seconds = 300;
  std::string metrics;
  std::vector<std::string> reject = {"black", "noise"};
  std::vector<SettingRow> settings;
  std::map<std::string, std::string> sources;  // full key -> where it was set
  std::string resolved_yaml;                   // what goes to output/job.yaml
};

struct JobOverrides {
  std::vector<std::pair<std::string, std::string>> set;  // --set a.b=v, in order
  int64_t ranks = 0;              // that the job is for, to check `parallel` with; 0: not known
  bool any_layout = false;        // plan: `parallel` may be more than this version runs
  bool device_elsewhere = false;  // plan: the device is that of another machine and need not be here
  bool submission = false;        // submit: `cluster` counts, and the device is that of its nodes
  bool noise_rerun = false;       // of job: regress: makes clips only, compares nothing
  std::string output_suffix;      // goes behind `output`
  std::string date;  // for {date}, "2026-11-21"; "": today in UTC (ranks may disagree at midnight)
  // A model of the Hub; see fetch_job_model.
  std::string model_commit;                 // what its revision is; "": asked for
  std::vector<std::string> model_problems;  // why it cannot be had: then nobody tries again
  const StopToken* stop = nullptr;          // ends a download
  bool quiet = false;                       // no lines about its headway
};

/// Everything needed to start, validated whole.
struct ResolvedJob {
  Job job;
  std::shared_ptr<const ModelDir> model;
  std::shared_ptr<const Blueprint> blueprint;
  PipelineOptions options;
  RequestFacts facts;
  std::vector<Item> items;  // in the order of the prompts; small, since there may be a million
  std::vector<std::string> warnings;
};

/// What the item's hash covers, key by key, so that a changed key can be named.
nlohmann::json request_of(const ResolvedJob& job, const Item& item);
/// The prompt line as it was, with what this clip was told made explicit (id, seed), so that it makes this
/// clip alone: a line of failed.jsonl.
nlohmann::json prompt_line(const Item& item);

/// Where the job's model is one of the Hub: fetches it into the cache, and notes in `overrides` its commit or
/// what is wrong, so that load_job on any rank takes the same. Does nothing where the job has another
/// mistake: that is told first. Throws StoppedEarly.
void fetch_job_model(const std::filesystem::path& file, JobOverrides& overrides);

/// Reads the job file and its prompts; "": all of the job stands in `overrides.set`. Every problem (job file,
/// prompts, model's json files, sizes) is collected and thrown as one UserError; no weights are loaded, and
/// nothing is written but a model of the Hub into its cache, where it is not yet there. Throws StoppedEarly
/// while fetching it.
ResolvedJob load_job(const std::filesystem::path& file, const JobOverrides& overrides);

}  // namespace rushes
