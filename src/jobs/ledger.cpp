#include "jobs/ledger.h"

#include <algorithm>

#include "base/file.h"
#include "config/json_fields.h"
#include "jobs/request_hash.h"
#include "jobs/shards.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

constexpr size_t kMostRefusals = 20;
constexpr uint64_t kMostIdentityBytes = uint64_t{1} << 20;

const char* numerics_name(Numerics numerics) {
  switch (numerics) {
    case Numerics::diffusers:
      return "diffusers";
    case Numerics::official:
      return "official";
    case Numerics::fastvideo:
      return "fastvideo";
  }
  return "?";
}

/// Is every output that the job wants among the record's files?
std::string missing_output(const ItemRecord& record, const std::vector<std::string>& outputs) {
  for (const std::string& output : outputs) {
    const bool folder = output.back() == '/';
    const bool found = std::any_of(record.files.begin(), record.files.end(), [&](const FileEntry& file) {
      return folder ? file.path.starts_with(output) : file.path == output;
    });
    if (!found) return output + " was not made";
  }
  return {};
}

/// A sample with other pixels than the job wants now (`dataset.pixels`) is to be made again.
std::string other_pixels(const ItemRecord& record, const std::filesystem::path& root, const Job& job) {
  if (!saves_hdf5(job)) return {};
  for (const FileEntry& file : record.files) {
    if (file.kind != "hdf5") continue;
    try {
      const std::string pixels = pixels_of(root, file.path);
      if (pixels != job.dataset.pixels)
        return str("its sample has dataset.pixels: ", pixels, ", now ", job.dataset.pixels);
    } catch (const UserError&) {
      return {};  // just moved to a shard; what is damaged is found when it is joined
    }
  }
  return {};
}

std::filesystem::path identity_path(const OutputFolder& folder) {
  return folder.hidden() / "folder.json";
}

nlohmann::json identity(const ResolvedJob& job) {
  return {{"model", job.facts.model}, {"numerics", numerics_name(job.job.numerics)}, {"format", 1}};
}

}  // namespace

bool any_to_do(const std::vector<LedgerEntry>& ledger) {
  return std::any_of(ledger.begin(), ledger.end(),
                     [](const LedgerEntry& entry) { return entry.state == ItemState::todo; });
}

int64_t count_of(const std::vector<LedgerEntry>& ledger, ItemState state) {
  return std::count_if(ledger.begin(), ledger.end(),
                       [&](const LedgerEntry& entry) { return entry.state == state; });
}

bool saves_hdf5(const Job& job) {
  return std::find(job.save.begin(), job.save.end(), "hdf5") != job.save.end();
}

std::vector<std::string> outputs_of(const std::string& id, const Job& job) {
  std::vector<std::string> outputs;
  for (const std::string& kind : job.save) {
    if (kind == "video") outputs.push_back(OutputFolder::video_path(id, job.video.container));
    if (kind == "latents") outputs.push_back(OutputFolder::latents_path(id));
    if (kind == "frames") outputs.push_back(OutputFolder::frames_path(id) + "/");
    if (kind == "hdf5") outputs.emplace_back("hdf5/");  // in the spool or in some shard there
  }
  return outputs;
}

LedgerEntry decide(const Item& item, const std::optional<ItemRecord>& record, const std::string& files_differ,
                   const std::vector<std::string>& outputs, const LedgerRules& rules) {
  if (!record) return {};
  const bool same_request = record->request_hash == item.request_hash;
  const bool this_run = record->run == rules.run;
  if (!record->done) {
    // Of another request nothing was made that could be lost; its tries do not count against this one.
    if (!same_request) return {};
    if (this_run) return {ItemState::failed, record->attempts, {}};
    if (rules.fresh || rules.retry_failed) return {};
    const bool again = record->attempts <= rules.retries;
    return {again ? ItemState::todo : ItemState::failed, record->attempts, {}};
  }
  if (!same_request && !rules.fresh) {
    return {ItemState::refused, 0, {}};
  }
  if (!same_request || (rules.fresh && !this_run)) return {};
  std::string why = files_differ;
  if (why.empty()) why = missing_output(*record, outputs);
  if (why.empty()) return {ItemState::done, record->attempts, {}};
  return {ItemState::todo, 0, why};
}

LedgerEntry look_up(const ResolvedJob& job, const Item& item, const OutputFolder& folder,
                    const LedgerRules& rules, std::vector<std::string>& warnings) {
  const auto record = read_record(folder.record(item.id), warnings);
  std::string differ;
  if (record && record->done && record->request_hash == item.request_hash) {
    differ = files_differ(*record, folder.root(), rules.verify, *rules.hashes);
    if (differ.empty()) differ = other_pixels(*record, folder.root(), job.job);
  }
  LedgerEntry entry = decide(item, record, differ, outputs_of(item.id, job.job), rules);
  std::error_code error;
  entry.recorded = record || rules.fresh || std::filesystem::exists(folder.record(item.id), error);
  if (entry.state == ItemState::refused) {
    const std::vector<std::string> changed = changed_keys(record->request, request_of(job, item));
    entry.why = join(changed, "; ");
    // job: regress over another build's clips: they are replaced.
    if (changed.size() == 1 && changed.front().starts_with("build: ") && !job.facts.build.empty()) {
      entry.state = ItemState::todo;
      entry.why = "it was made by another build";
    }
  }
  return entry;
}

std::vector<LedgerEntry> read_ledger(const ResolvedJob& job, const OutputFolder& folder,
                                     const LedgerRules& rules, std::vector<std::string>& warnings) {
  std::vector<LedgerEntry> ledger;
  Problems problems;
  size_t refused = 0;
  for (const Item& item : job.items) {
    LedgerEntry entry = look_up(job, item, folder, rules, warnings);
    if (entry.state == ItemState::todo && !entry.why.empty()) {
      warnings.push_back(str("item ", item.id, " is made again: ", entry.why));
    }
    if (entry.state == ItemState::refused && ++refused <= kMostRefusals) {
      problems.add(item.where, ": id '", item.id, "' was made by another request: ", entry.why,
                   "; give it another id or output folder, or --fresh to replace what is there");
    }
    ledger.push_back(std::move(entry));
  }
  if (refused > kMostRefusals) problems.add("and ", refused - kMostRefusals, " more such items");
  problems.throw_if_any();
  return ledger;
}

void check_folder_identity(const ResolvedJob& job, const OutputFolder& folder) {
  const std::filesystem::path path = identity_path(folder);
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, error))) return;
  nlohmann::json there;
  try {
    there = parse_json(read_file(path, kMostIdentityBytes), path.string());
    if (!there.is_object()) fail(path.string(), ": no JSON object");
  } catch (const UserError& problem) {
    fail(problem.what(),
         "; it alone says which model's clips the folder holds: put it right, or remove it if you ",
         "are sure, or choose another output folder");
  }
  const nlohmann::json now = identity(job);
  Problems problems;
  for (const char* key : {"model", "numerics", "format"}) {
    const nlohmann::json before = there.contains(key) ? there[key] : nlohmann::json();
    if (before == now[key]) continue;
    const std::string given = std::string(key) == "model" && there.contains("model_as_given")
                                  ? str(short_json(there["model_as_given"], 200), ", ")
                                  : std::string();
    problems.add(folder.root().string(), " holds the clips of another ", key, " (", given, short_json(before),
                 "; now ", short_json(now[key]), "); choose another output folder");
  }
  problems.throw_if_any();
}

void note_folder_identity(const ResolvedJob& job, const OutputFolder& folder, const WorkPlace& work) {
  check_folder_identity(job, folder);
  if (std::filesystem::exists(identity_path(folder))) return;
  nlohmann::json first = identity(job);
  first["model_as_given"] = job.job.model;
  work.write_file(identity_path(folder), first.dump(2) + "\n");
}

}  // namespace rushes
