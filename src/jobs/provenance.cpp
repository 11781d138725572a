#include "jobs/provenance.h"

#include "base/log.h"
#include "base/version.h"
#include "config/value.h"

namespace rushes {
namespace {

constexpr size_t kMostTitleBytes = 120;
// More than any text encoder takes in: longer prompts stand whole in the item's record.
constexpr size_t kMostPromptBytes = 16 << 10;

/// Line breaks and other control characters count as blanks, and many blanks as one.
std::string title_of(const std::string& prompt) {
  std::string line;
  for (const char c : shortened(prompt, 4 * kMostTitleBytes)) {
    const bool blank = static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
    if (!blank) line += c;
    if (blank && !line.empty() && line.back() != ' ') line += ' ';
  }
  while (line.ends_with(' '))
    line.pop_back();
  return shortened(without_controls(line), kMostTitleBytes);
}

}  // namespace

VideoTags provenance_tags(const ResolvedJob& job, const Item& item) {
  if (job.job.kind == JobKind::preprocess) return {};
  nlohmann::ordered_json facts;
  facts["prompt"] = shortened(item.prompt, kMostPromptBytes);
  if (item.prompt.size() > kMostPromptBytes) facts["prompt_bytes"] = item.prompt.size();
  facts["seed"] = item.sampling.seed;
  const std::string& pinned = job.job.weights_revision;
  const size_t at = pinned.find('@');
  if (at != std::string::npos) {
    facts["model"] = pinned.substr(0, at);
    facts["revision"] = pinned.substr(at + 1);
  } else {
    facts["model"] = job.blueprint ? job.blueprint->pipeline_class() : std::string();
    facts["revision"] = job.facts.model;
  }
  nlohmann::json request = request_of(job, item);
  const bool of_a_build = request.erase("build") > 0;
  facts["request_hash"] = of_a_build ? hash_request(request) : item.request_hash;
  facts["version"] = "rushes " + version();
  return {title_of(item.prompt),
          facts.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)};
}

}  // namespace rushes
