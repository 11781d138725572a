#pragma once
// From prompt lines to items: settings layered, samples told apart, ids made.

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/fields.h"
#include "jobs/job.h"
#include "jobs/prompts.h"
#include "jobs/request_hash.h"

namespace rushes {

/// One clip before anything is known of the model.
struct ItemDraft {
  const PromptRow* row = nullptr;
  Sampling sampling;  // own seed, samples = 1
  std::string id;     // "" where one has to be made from the request's hash
};

/// The layers around a prompt line: `base` (defaults, preset, job) below it, `set` (--set documents) above
/// it. With `samples` above 1 an explicit id becomes <id>-<seed>. Notes seeds that run out of range, ids
/// given twice (both lines) or grown too long, and more than a million items.
std::vector<ItemDraft> draft_items(const std::vector<PromptRow>& rows, const Sampling& base,
                                   const std::vector<Value>& set, Problems& problems);

/// What the items of a job need of it.
struct ItemContext {
  const Blueprint& blueprint;
  const PipelineOptions& options;
  const RequestFacts& facts;
  bool video;                                         // is an H.264 video made of each clip?
  const std::map<std::string, std::string>& sources;  // full key -> where the job, preset or --set set it
  const std::string& job_file;
  const std::vector<Value>& set;  // above the prompts' own lines
};

/// Items in the order of the drafts, with requests, hashes, ids and costs. Sizes that the model or the video
/// format cannot take are noted once, at the place of the key.
std::vector<Item> make_items(const std::vector<ItemDraft>& drafts, const ItemContext& context,
                             Problems& problems);

/// "a-red-circle-moves-left": lower-case letters and digits of the prompt joined by '-', at most 48 bytes;
/// "clip" where none is left.
std::string slug(const std::string& prompt);

}  // namespace rushes
