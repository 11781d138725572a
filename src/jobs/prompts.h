#pragma once
// Prompts from a file (.txt, .csv, .jsonl, .yaml) or from the job file's own list, line by line; for job:
// preprocess also from a folder of videos with captions.

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/value.h"

namespace rushes {

/// One prompt line, checked. It may make several items (`samples`).
struct PromptRow {
  std::string prompt;
  std::optional<std::string> id;
  std::optional<double> min_ssim;  // job: regress: the SSIM that this clip's frames need
  std::string video;               // job: preprocess: the file, seen from the working directory
  std::vector<Entry> settings;     // sampling keys of this line; each was readable by its field
  std::string document;            // "prompts.jsonl"
  std::string where;               // "prompts.jsonl:7"
};

/// What a prompt line may hold beside `prompt` and `id`.
struct PromptRules {
  std::vector<std::string> sampling_keys;  // that the pipeline reads
  std::string pipeline;                    // "WanPipeline", for messages
  bool videos = false;                     // job: preprocess: each line names a `video`
};

/// `prompts`: a path (relative to the working directory) or a list that stands in `job_document`. A `video`
/// of a file's line is relative to that file, one of the list to the working directory. What is wrong is
/// noted line by line (at most 50 of them); the good rows are given all the same.
std::vector<PromptRow> read_prompts(const Value& prompts, const std::string& job_document,
                                    const PromptRules& rules, Problems& problems);

}  // namespace rushes
