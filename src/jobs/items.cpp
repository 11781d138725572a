#include "jobs/items.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "config/file_names.h"
#include "config/job_file.h"

namespace rushes {
namespace {

constexpr int64_t kMaxItems = 1000000;
constexpr size_t kSlugBytes = 48;

/// The row's settings over `base`, and --set over both. All of them were checked before.
Sampling layered(const Sampling& base, const PromptRow& row, const std::vector<Value>& set) {
  Problems known;
  std::map<std::string, std::string> sources;
  Reading reading(row.document, known, sources);
  Sampling sampling = base;
  Value own;
  own.kind = Value::Kind::mapping;
  own.entries = row.settings;
  read_fields(sampling_fields(), sampling, own, "", reading);
  for (const Value& document : set) {
    if (const Entry* section = document.find("sampling"))
      read_fields(sampling_fields(), sampling, section->value, "sampling.", reading);
  }
  return sampling;
}

/// Sampling without what tells clips of one shape apart: equal text, equal checks and costs.
std::string shape_key(const Sampling& sampling) {
  Sampling shape = sampling;
  shape.seed = 0;
  shape.negative_prompt.clear();
  return get_fields(sampling_fields(), shape).dump();
}

/// Notes what the model or the video format cannot take of a shape or a text, each problem where its key was
/// set.
class RequestCheck {
 public:
  RequestCheck(const ItemContext& context, Problems& problems) : context_(context), problems_(problems) {}

  /// Is the shape good?
  bool good(const Sampling& sampling, const PromptRow& row) {
    Problems found;
    context_.blueprint.check(sampling, row.where, found);
    if (context_.video) check_video_size(sampling, row.where, found);
    for (const std::string& problem : found.list()) {
      const std::string moved = moved_to_key(problem, row);
      if (noted_.insert(moved).second) problems_.add(moved);
    }
    return found.empty();
  }

  void text(const Item& item) {
    Problems found;
    context_.blueprint.check_text(item.prompt, item.sampling, item.where, found);
    for (const std::string& problem : found.list()) {
      if (noted_.insert(problem).second) problems_.add(problem);
    }
  }

 private:
  static void check_video_size(const Sampling& sampling, const std::string& where, Problems& problems) {
    for (const auto& [key, side] :
         {std::pair("height", sampling.height), std::pair("width", sampling.width)}) {
      if (side % 2 == 0) continue;
      problems.add(where, ": ", key, " is ", side,
                   "; H.264 video needs an even number (save: [frames] takes any)");
    }
  }

  /// "<prompt line>: height is 250 ..." names the prompt line; the height may come from the job or --set.
  std::string moved_to_key(const std::string& problem, const PromptRow& row) const {
    const std::string start = row.where + ": ";
    if (!problem.starts_with(start)) return problem;
    const std::string key =
        problem.substr(start.size(), problem.find_first_of(" :", start.size()) - start.size());
    if (!find_field(sampling_fields(), key)) return problem;
    const auto source = context_.sources.find("sampling." + key);
    const std::string set_at = source == context_.sources.end() ? context_.job_file : source->second;
    const bool in_row = std::any_of(row.settings.begin(), row.settings.end(),
                                    [&](const Entry& entry) { return entry.key == key; });
    const bool above = std::any_of(context_.set.begin(), context_.set.end(), [&](const Value& document) {
      const Entry* section = document.find("sampling");
      return section != nullptr && section->value.find(key) != nullptr;
    });
    if (in_row && !above) return problem;
    return str(set_at, ": sampling.", problem.substr(start.size()));
  }

  const ItemContext& context_;
  Problems& problems_;
  std::unordered_set<std::string> noted_;
};

/// Which of sampling_fields() the line gives itself, a bit each.
uint64_t own_keys(const PromptRow& row) {
  const Fields<Sampling>& fields = sampling_fields();
  RUSHES_CHECK(fields.size() <= 64, fields.size(), " keys");
  uint64_t keys = 0;
  for (const Entry& entry : row.settings) {
    for (size_t i = 0; i < fields.size(); ++i)
      keys |= uint64_t{fields[i].key == entry.key} << i;
  }
  return keys;
}

/// Hands out file names, each once.
class IdMaker {
 public:
  explicit IdMaker(const std::vector<ItemDraft>& drafts) {
    for (const ItemDraft& draft : drafts) {
      if (!draft.id.empty()) used_.insert(draft.id);
    }
  }
  std::string make(const std::string& prompt, const std::string& hash) {
    const std::string base = slug(prompt) + "-" + hash.substr(0, 8);
    int64_t& copy = copies_[base];
    while (true) {
      ++copy;
      const std::string id = copy == 1 ? base : str(base, "-", copy);
      if (used_.insert(id).second) return id;
    }
  }

 private:
  std::unordered_set<std::string> used_;
  std::unordered_map<std::string, int64_t> copies_;
};

}  // namespace

nlohmann::json request_of(const ResolvedJob& job, const Item& item) {
  static const std::vector<std::string> none;
  nlohmann::json request = make_request(job.facts, item.prompt, item.sampling,
                                        job.blueprint ? job.blueprint->sampling_keys() : none);
  if (!item.video.empty()) request["video"] = item.video_facts;
  return request;
}

nlohmann::json prompt_line(const Item& item) {
  nlohmann::json line = {{"prompt", item.prompt}};
  const Fields<Sampling>& fields = sampling_fields();
  for (size_t i = 0; i < fields.size(); ++i) {
    if ((item.own_keys >> i & 1) != 0) line[fields[i].key] = fields[i].get(item.sampling);
  }
  if (item.min_ssim) line["min_ssim"] = *item.min_ssim;
  if (!item.video.empty()) line["video"] = std::filesystem::absolute(item.video).string();
  line["id"] = item.id;
  if (!item.video.empty()) return line;  // nothing is drawn
  line["seed"] = item.sampling.seed;
  line["samples"] = 1;
  return line;
}

std::string slug(const std::string& prompt) {
  std::string text;
  for (const char c : prompt) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if ((lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9')) {
      text += lower;
    } else if (!text.empty() && text.back() != '-') {
      text += '-';
    }
    if (text.size() == kSlugBytes) break;
  }
  if (text.ends_with('-')) text.pop_back();
  return text.empty() ? "clip" : text;
}

std::vector<ItemDraft> draft_items(const std::vector<PromptRow>& rows, const Sampling& base,
                                   const std::vector<Value>& set, Problems& problems) {
  std::vector<Sampling> of_rows;
  of_rows.reserve(rows.size());
  int64_t total = 0;
  bool too_many = false;
  for (const PromptRow& row : rows) {
    Sampling& sampling = of_rows.emplace_back(layered(base, row, set));
    if (sampling.seed > INT64_MAX - (sampling.samples - 1)) {
      problems.add(row.where, ": seed ", sampling.seed, " and ", sampling.samples,
                   " samples go beyond the largest seed; take a smaller seed");
      sampling.samples = 1;
    }
    total += sampling.samples;
    if (total > kMaxItems && !std::exchange(too_many, true))
      problems.add(row.where, ": with this line the job has more than ", kMaxItems,
                   " clips; split it into several jobs");
  }
  std::vector<ItemDraft> drafts;
  std::unordered_map<std::string, const PromptRow*> owners;
  for (size_t i = 0; i < rows.size(); ++i) {
    const PromptRow& row = rows[i];
    Sampling& sampling = of_rows[i];
    if (too_many) sampling.samples = 1;  // what else is wrong is told all the same
    for (int64_t sample = 0; sample < sampling.samples; ++sample) {
      ItemDraft draft{&row, sampling, row.id.value_or("")};
      draft.sampling.seed += sample;
      draft.sampling.samples = 1;
      if (row.id && sampling.samples > 1) draft.id = str(*row.id, "-", draft.sampling.seed);
      if (!draft.id.empty()) {
        const std::string problem = id_problem(draft.id);
        const auto [owner, is_new] = owners.emplace(draft.id, &row);
        if (!problem.empty()) problems.add(row.where, ": id: ", problem);
        if (!is_new && !too_many) {
          problems.add(row.where, ": id: '", draft.id, "' stands already in ", owner->second->where,
                       "; an id names one clip");
        }
      }
      drafts.push_back(std::move(draft));
    }
  }
  return drafts;
}

/// What tells one video from another without reading it whole.
nlohmann::json file_facts(const std::string& path, const std::string& where, Problems& problems) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    problems.add(where, ": video: cannot read ", path, ": ", std::strerror(errno));
    return {};
  }
  if (!S_ISREG(info.st_mode)) problems.add(where, ": video: ", path, " is no file");
  return {{"bytes", info.st_size}, {"mtime_ns", info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec}};
}

std::vector<Item> make_items(const std::vector<ItemDraft>& drafts, const ItemContext& context,
                             Problems& problems) {
  RequestCheck check(context, problems);
  std::unordered_map<std::string, double> flops;  // of each shape
  IdMaker ids(drafts);
  std::vector<Item> items;
  items.reserve(drafts.size());
  for (const ItemDraft& draft : drafts) {
    Item item;
    item.prompt = draft.row->prompt;
    item.sampling = draft.sampling;
    item.where = draft.row->where;
    item.min_ssim = draft.row->min_ssim;
    const auto [cost, is_new] = flops.emplace(shape_key(item.sampling), 0.0);
    if (is_new && check.good(item.sampling, *draft.row))
      cost->second = context.blueprint.cost(item.sampling, context.options).flops;
    item.flops = cost->second;
    check.text(item);
    item.own_keys = own_keys(*draft.row);
    if (!draft.row->video.empty()) {
      item.video = draft.row->video;
      item.video_facts = file_facts(item.video, item.where, problems);
    }
    nlohmann::json request =
        make_request(context.facts, item.prompt, item.sampling, context.blueprint.sampling_keys());
    if (!item.video.empty()) request["video"] = item.video_facts;
    item.request_hash = hash_request(request);
    item.id = draft.id.empty() ? ids.make(item.prompt, item.request_hash) : draft.id;
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace rushes
