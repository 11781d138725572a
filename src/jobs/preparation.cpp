#include "jobs/preparation.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/env.h"
#include "base/file.h"
#include "base/log.h"
#include "config/job_file.h"
#include "jobs/claims.h"
#include "jobs/embedding_store.h"
#include "jobs/events.h"
#include "jobs/output_check.h"
#include "jobs/progress.h"
#include "jobs/queue.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMostWarnings = 20;
constexpr size_t kLeastRoom = size_t{1} << 16;

/// "20261121T093000Z-1a2b3c4d"
std::string new_run_name(const std::string& token) {
  std::string time = utc_now().substr(0, 19);
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return time + "Z-" + hash_bytes(token + utc_now()).substr(0, 8);
}

void warn_some(const std::vector<std::string>& warnings) {
  for (size_t i = 0; i < warnings.size() && i < kMostWarnings; ++i)
    log_warning(warnings[i]);
  if (warnings.size() > kMostWarnings)
    log_warning("and ", warnings.size() - kMostWarnings, " more such warnings");
}

std::vector<ManifestItem> manifest_of(const ResolvedJob& job) {
  std::vector<ManifestItem> items;
  for (const Item& item : job.items)
    items.push_back({.id = item.id, .flops = item.flops, .min_ssim = item.min_ssim});
  return items;
}

/// Where text embeddings are kept: told before anything is written.
void check_cache() {
  const std::string cache = env(EnvVar::cache);
  const std::string problem = cache.empty() ? "" : folder_problem(fs::path(cache) / "embeddings");
  if (!problem.empty())
    fail("RUSHES_CACHE is '", cache, "', where no text embeddings can be kept: ", problem,
         "; give a folder that can be written, or unset it (the output folder then keeps them)");
}

/// Makes the folders and this process's home there. Where that fails (a full disk), the folders that were
/// made go again, as far as they are empty and no other run lives there.
void move_in(const fs::path& root, const OwnerStatus& status, std::unique_ptr<Residence>& residence) {
  std::error_code ignored;
  std::vector<fs::path> made;  // the innermost first
  for (fs::path path = fs::absolute(root, ignored).lexically_normal();
       !fs::exists(path, ignored) && path != path.parent_path(); path = path.parent_path())
    made.push_back(path);
  const OutputFolder folder = OutputFolder::view(root);
  std::vector<fs::path> missing = {folder.claims(), folder.owners(), folder.work(), folder.deaths(),
                                   folder.hidden(), root / "items",  root / "logs"};
  std::erase_if(missing, [&](const fs::path& path) { return fs::exists(path, ignored); });
  try {
    OutputFolder::create(root);
    residence = std::make_unique<Residence>(folder, status);
    // Job, manifest and log come next: with no room for those nothing can be made either.
    const fs::path try_out = residence->work.path("room");
    write_file_atomic(try_out, std::string(kLeastRoom, ' '), "w");
    fs::remove(try_out, ignored);
  } catch (const UserError& error) {
    residence.reset();
    if (!fs::exists(folder.owners(), ignored) || fs::is_empty(folder.owners(), ignored)) {
      for (const fs::path& path : missing)
        ::rmdir(path.c_str());
      for (const fs::path& path : made)
        ::rmdir(path.c_str());
    }
    fail(error.what(), "; nothing was started: free space or rights there, or choose another output folder");
  }
}

}  // namespace

std::string start_text(const Start& start) {
  std::string states, recorded;
  nlohmann::json attempts = nlohmann::json::object(), again = nlohmann::json::object();
  for (size_t i = 0; i < start.ledger.size(); ++i) {
    states += static_cast<char>('0' + static_cast<int>(start.ledger[i].state));
    recorded += start.ledger[i].recorded ? '1' : '0';
    if (start.ledger[i].attempts > 0) attempts[str(i)] = start.ledger[i].attempts;
    if (!start.ledger[i].why.empty()) again[str(i)] = start.ledger[i].why;
  }
  return nlohmann::json{{"code", start.code},     {"run", start.run},
                        {"digest", start.digest}, {"states", states},
                        {"recorded", recorded},   {"attempts", attempts},
                        {"again", again},         {"layout", get_fields(parallel_fields(), start.layout)},
                        {"first", start.first},   {"limit", start.seconds},
                        {"events", start.events}}
      .dump();
}

Start start_from(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  Start start;
  start.code = json.at("code").get<int>();
  start.run = json.at("run").get<std::string>();
  start.digest = json.at("digest").get<std::string>();
  start.first = json.at("first").get<std::string>();
  start.seconds = json.at("limit").get<double>();
  start.events = json.at("events").get<uint64_t>();
  const auto states = json.at("states").get<std::string>(), recorded = json.at("recorded").get<std::string>();
  for (size_t i = 0; i < states.size(); ++i)
    start.ledger.push_back({static_cast<ItemState>(states[i] - '0'), 0, {}, recorded.at(i) == '1'});
  const auto& layout = json.at("layout");
  for (const auto& [key, axis] : {std::pair{"dp", &Parallel::dp},
                                  {"cfg", &Parallel::cfg},
                                  {"sp", &Parallel::sp},
                                  {"ring", &Parallel::ring},
                                  {"dit_tp", &Parallel::dit_tp},
                                  {"tp", &Parallel::tp},
                                  {"vae", &Parallel::vae}}) {
    if (layout.at(key).is_number()) start.layout.*axis = layout.at(key).get<int64_t>();
  }
  for (const auto& [index, attempts] : json.at("attempts").items()) {
    start.ledger.at(std::stoul(index)).attempts = attempts.get<int64_t>();
  }
  for (const auto& [index, why] : json.at("again").items()) {
    start.ledger.at(std::stoul(index)).why = why.get<std::string>();
  }
  return start;
}

std::string digest_of(const ResolvedJob& job) {
  std::string all;
  for (const Item& item : job.items)
    all += item.id + "\n" + item.request_hash + "\n";
  return hash_bytes(all + job.job.output + "\n" + join(job.job.save, ","));
}

OwnerStatus first_status(const World& world, const std::string& run, const std::string& first) {
  OwnerStatus status;
  status.token = this_process().token();
  status.run = run;
  status.job = env(EnvVar::slurm_job_id);
  status.rank = world.rank();
  status.world = world.size();
  status.first = first;
  return status;
}

Start prepare(const World& world, const ResolvedJob& job, const RunRequest& request,
              std::unique_ptr<Residence>& residence) {
  const fs::path root = job.job.output;
  Start start;
  start.digest = digest_of(job);
  start.first = this_process().token();
  start.run = new_run_name(start.first);
  LedgerRules rules{start.run, request.fresh, request.retry_failed, request.verify, job.job.retries};
  std::vector<std::string> warnings = job.warnings;
  // First all that can be wrong, with nothing written.
  std::error_code ignored;
  require_output(job, request.fresh);
  const auto events = fs::file_size(OutputFolder::view(root).events(), ignored);
  start.events = ignored ? 0 : events;
  const bool known = is_of_a_run(root);
  if (known && !request.fresh) start.ledger = read_ledger(job, OutputFolder::view(root), rules, warnings);

  if (start.ledger.empty() || any_to_do(start.ledger)) check_cache();
  if (known || request.fresh) {  // elsewhere they were refused
    if (const auto foreign = foreign_results(job); !foreign.empty())
      warnings.insert(warnings.begin(),
                      some_of(foreign, job.job.output) +
                          " has no record: what is made of its item replaces it; move it away to keep it");
  }

  move_in(root, first_status(world, start.run, start.first), residence);
  const OutputFolder folder = OutputFolder::view(root);
  OwnerWatch watch(folder.owners());
  Claims claims(folder, residence->work, residence->owner.token(), watch);
  const int64_t dead = claims.sweep();
  sweep_embeddings(folder.embeddings());
  if (dead > 0)
    log_info("cleaned up after ", dead, dead == 1 ? " process" : " processes", " of an earlier run");
  {
    const FolderLock lock(folder);
    note_folder_identity(job, folder, residence->work);
    if (request.fresh)
      start.run = rules.run = fresh_run_name(folder, residence->work, start.run, start.digest);
    residence->work.write_file(folder.manifest(), manifest_text(manifest_of(job)));
    residence->work.write_file(root / "job.yaml", job.job.resolved_yaml);
    RestartCount(folder).value();
    residence->owner.announce([&](OwnerStatus& status) { status.run = start.run; });
  }
  if (start.ledger.empty()) start.ledger = read_ledger(job, folder, rules, warnings);
  reset_front(folder, WorkOrder(job.items, start.ledger, start.digest), claims);
  warn_some(warnings);
  return start;
}

RestartCount::RestartCount(const OutputFolder& folder) : path_(folder.hidden() / "restarts.json") {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) set(0);
}

int64_t RestartCount::value() const {
  const nlohmann::json json = read_json_object(path_);
  const auto at = json.is_object() ? json.find("without_progress") : json.end();
  return json.is_object() && at != json.end() && at->is_number_integer() ? at->get<int64_t>() : 0;
}

void RestartCount::set(int64_t value) const {
  std::string text = nlohmann::json{{"without_progress", value}}.dump();
  text.resize(63, ' ');
  text += '\n';
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) fail("cannot write ", path_.string(), ": ", std::strerror(errno));
  const ssize_t count = ::pwrite(fd, text.data(), text.size(), 0);
  const bool written = count == static_cast<ssize_t>(text.size());
  const int why = count < 0 ? errno : ENOSPC;
  ::close(fd);
  if (!written) fail("cannot write ", path_.string(), ": ", std::strerror(why));
}

std::string fresh_run_name(const OutputFolder& folder, const WorkPlace& work, const std::string& name,
                           const std::string& digest) {
  const FreshRun there = unfinished_fresh_run(folder);
  if (!there.name.empty() && there.digest == digest) {
    log_info("--fresh: going on with the run ", there.name, ", which was not through");
    return there.name;
  }
  work.write_file(folder.fresh(), nlohmann::json{{"run", name}, {"digest", digest}}.dump() + "\n");
  return name;
}

void end_fresh_run(const OutputFolder& folder, const std::string& digest) {
  const FolderLock lock(folder);
  if (unfinished_fresh_run(folder).digest == digest) ::unlink(folder.fresh().c_str());
}

}  // namespace rushes
