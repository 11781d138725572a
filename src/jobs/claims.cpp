#include "jobs/claims.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

std::string link_target(const std::string& token) {
  return "../owners/" + token + ".json";
}

/// "../owners/<token>.json" -> "<token>"; any other target is a token nobody has.
std::string token_of(const std::string& target) {
  const std::string name = fs::path(target).filename().string();
  return name.ends_with(".json") ? name.substr(0, name.size() - 5) : name;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  return names;
}

}  // namespace

Claims::Claims(const OutputFolder& folder, const WorkPlace& work, std::string token, OwnerWatch& watch)
    : folder_(folder), work_(work), token_(std::move(token)), watch_(watch) {}

bool Claims::take(const std::string& id) {
  if (::symlink(link_target(token_).c_str(), path(id).c_str()) == 0) return true;
  if (errno == EEXIST) return false;
  fail("cannot claim item '", id, "' in ", folder_.claims().string(), ": ", std::strerror(errno));
}

std::optional<std::string> Claims::holder(const std::string& id) const {
  char target[512];
  const ssize_t length = ::readlink(path(id).c_str(), target, sizeof target);
  if (length >= 0) return token_of(std::string(target, static_cast<size_t>(length)));
  if (errno == ENOENT) return std::nullopt;
  return std::string();  // a file of another kind in the way: an owner that nobody knows
}

bool Claims::free_if_dead(const std::string& id) {
  const auto seen = holder(id);
  if (!seen) return true;
  if (*seen == token_ || !watch_.is_dead(*seen)) return false;
  const FolderLock lock(folder_);
  const auto owner = holder(id);
  if (!owner) return true;
  if (*owner == token_ || !watch_.is_dead(*owner)) return false;  // freed and claimed again meanwhile
  count_death(id, *owner, "");
  std::error_code error;
  fs::remove_all(path(id), error);
  if (error) fail("cannot free the claim ", path(id).string(), ": ", error.message());
  log_info("item ", id, ": its owner ", *owner, " is dead; taking it over");
  return true;
}

void Claims::release(const std::string& id) {
  const FolderLock lock(folder_);
  release_locked(id);
}

void Claims::release_locked(const std::string& id) {
  if (is_mine(id)) ::unlink(path(id).c_str());
}

void Claims::release_all() {
  for (const std::string& id : all()) {
    if (is_mine(id)) release(id);
  }
}

void Claims::count_death(const std::string& id, const std::string& owner, std::string how) const {
  const auto status = read_owner_status(folder_.owner(owner));
  // It also held clips that were finished and waiting to be written: those did not kill it.
  if (status && status->item != id && status->writing != id) return;
  if (status && how.empty()) how = crash_of(*status, id);
  Deaths now = deaths(id);
  // Killed from outside, but with more steps done than the last time: the item stands in nobody's way.
  const bool further = how.empty() && status && status->item == id && status->step > now.step;
  now.count = (further ? now.crashes : now.count) + 1;
  if (!how.empty()) {
    ++now.crashes;
    now.how = how;
  }
  now.last_owner = owner;
  now.stage = !status ? "" : status->item == id ? status->stage : "writing";
  if (!status || status->item == id) now.step = status ? status->step : 0;
  write_deaths(id, now);
}

/// How the owner, or a rank that made the item with it, crashed; "" where none did.
std::string Claims::crash_of(const OwnerStatus& owner, const std::string& id) const {
  // Of an item in the making and one being written it is the former that is suspect.
  const bool suspect = owner.item == id || owner.item.empty();
  if (suspect && owner.crash != 0) return str("by SIG", sigabbrev_np(owner.crash));
  if (owner.world == 1 || owner.item != id) return "";
  for (const std::string& name : names_in(folder_.owners())) {
    const auto other = read_owner_status(folder_.owners() / name);
    if (other && other->crash != 0 && other->first == owner.first && other->helps == id)
      return str("by SIG", sigabbrev_np(other->crash), " of rank ", other->rank);
  }
  return "";
}

void Claims::write_deaths(const std::string& id, const Deaths& deaths) const {
  nlohmann::json json = {{"count", deaths.count}, {"crashes", deaths.crashes},
                         {"how", deaths.how},     {"last_owner", deaths.last_owner},
                         {"stage", deaths.stage}, {"step", deaths.step}};
  if (!deaths.memory.is_null()) json["memory"] = deaths.memory;
  work_.write_file(folder_.deaths() / (id + ".json"), json.dump(2) + "\n");
}

void Claims::note_memory(const std::string& id, const nlohmann::json& memory) const {
  const FolderLock lock(folder_);
  Deaths now = deaths(id);
  now.memory = memory;
  write_deaths(id, now);
}

void Claims::note_crash(const std::string& id, const std::string& owner, const std::string& how) const {
  const FolderLock lock(folder_);
  if (holder(id) != owner) return;
  count_death(id, owner, how);
  ::unlink(path(id).c_str());
}

Deaths Claims::deaths(const std::string& id) const {
  const nlohmann::json json = read_json_object(folder_.deaths() / (id + ".json"));
  Deaths deaths;
  if (!json.is_object()) return deaths;
  try {
    deaths.count = whole_at(json, "count");
    deaths.crashes = whole_at(json, "crashes");
    deaths.how = json.at("how").get<std::string>();
    deaths.last_owner = json.at("last_owner").get<std::string>();
    deaths.stage = json.at("stage").get<std::string>();
    deaths.step = whole_at(json, "step");
    deaths.memory = json.value("memory", nlohmann::json());
  } catch (const nlohmann::json::exception&) {
    return {};
  }
  return deaths;
}

std::map<std::string, int64_t> Claims::all_deaths() const {
  std::map<std::string, int64_t> all;
  for (const std::string& name : names_in(folder_.deaths())) {
    const std::string id = fs::path(name).stem().string();
    all[id] = deaths(id).count;
  }
  return all;
}

void Claims::forget_deaths(const std::string& id) const {
  ::unlink((folder_.deaths() / (id + ".json")).c_str());
}

std::vector<std::string> Claims::all() const {
  return names_in(folder_.claims());
}

/// A rank that crashed while it helped with a clip, whose leader, on another host, is not yet known to be
/// dead.
bool Claims::is_evidence(const std::string& token) const {
  const auto status = read_owner_status(folder_.owner(token));
  return status && status->crash != 0 && !status->helps.empty() && holder(status->helps);
}

int64_t Claims::sweep() {
  for (const std::string& id : all())
    free_if_dead(id);
  std::set<std::string> tokens;
  for (const std::string& name : names_in(folder_.owners()))
    tokens.insert(token_of(name));
  for (const std::string& name : names_in(folder_.work()))
    tokens.insert(name);
  int64_t dead = 0;
  for (const std::string& token : tokens) {
    if (token == token_ || !watch_.is_dead(token)) continue;
    if (is_evidence(token)) continue;
    ++dead;
    std::error_code ignored;
    fs::remove_all(folder_.work() / token, ignored);
    fs::remove(folder_.owner(token), ignored);
  }
  return dead;
}

}  // namespace rushes
