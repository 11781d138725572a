#include "jobs/shards.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "jobs/record.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSlots = 16;
constexpr const char* kSpool = "hdf5/spool";

/// Held by whoever makes shards of a slot; the kernel releases it when the process dies.
class SlotLock {
 public:
  SlotLock(const fs::path& spool, const std::string& slot)
      : fd_(::open((spool / (slot + ".lock")).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail("cannot write ", (spool / (slot + ".lock")).string(), ": ", std::strerror(errno));
    mine_ = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
  }
  ~SlotLock() { ::close(fd_); }
  SlotLock(const SlotLock&) = delete;
  SlotLock& operator=(const SlotLock&) = delete;
  bool mine() const { return mine_; }

 private:
  int fd_;
  bool mine_ = false;
};

std::vector<std::string> names_in(const fs::path& folder, const std::string& ending) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(ending) && name[0] != '.') names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Slots that have been used.
std::vector<std::string> slots_in(const fs::path& root) {
  std::vector<std::string> slots;
  std::error_code error;
  for (fs::directory_iterator at(root / kSpool, error), end; !error && at != end; at.increment(error)) {
    if (at->is_directory(error)) slots.push_back(at->path().filename().string());
  }
  std::sort(slots.begin(), slots.end());
  return slots;
}

const FileEntry* hdf5_entry(const ItemRecord& record) {
  for (const FileEntry& file : record.files) {
    if (record.done && file.kind == "hdf5") return &file;
  }
  return nullptr;
}

/// Every record's sample: id -> entry.
std::map<std::string, FileEntry> recorded(const OutputFolder& folder) {
  std::map<std::string, FileEntry> samples;
  std::vector<std::string> ignored;
  for (const std::string& name : names_in(folder.root() / "items", ".json")) {
    const auto record = read_record(folder.root() / "items" / name, ignored);
    if (!record) continue;
    if (const FileEntry* entry = hdf5_entry(*record)) samples.emplace(record->id, *entry);
  }
  return samples;
}

}  // namespace

struct ShardStore::Spooled {
  std::string id;
  std::string path;  // relative to the folder
  std::string hash;  // by the record
};

std::string ShardStore::slot_of(int64_t replica) {
  return str(replica % kSlots);
}

std::string ShardStore::spool_path(int64_t replica, const std::string& id) {
  return str(kSpool, "/", slot_of(replica), "/", id, ".safetensors");
}

/// The hash that the item's record gives of the spooled sample; nothing where the record speaks of another.
std::optional<std::string> ShardStore::spooled_hash(const std::string& id, const std::string& path) const {
  std::vector<std::string> ignored;
  const auto record = read_record(folder_.record(id), ignored);
  const FileEntry* entry = record ? hdf5_entry(*record) : nullptr;
  if (entry == nullptr || entry->path != path) return std::nullopt;
  return entry->hash;
}

/// What counts of a slot's samples. What does not is removed: a record is written last and under the folder's
/// lock, so that a sample without one is of a process that died.
std::vector<ShardStore::Spooled> ShardStore::spooled(const std::string& slot) const {
  std::vector<Spooled> samples;
  const std::string folder = str(kSpool, "/", slot);
  for (const std::string& name : names_in(folder_.root() / folder, ".safetensors")) {
    Spooled sample{name.substr(0, name.size() - std::strlen(".safetensors")), folder + "/" + name, {}};
    std::optional<std::string> hash = spooled_hash(sample.id, sample.path);
    if (!hash) {
      const FolderLock lock(folder_);
      hash = spooled_hash(sample.id, sample.path);
      std::error_code ignored;
      if (!hash) fs::remove(folder_.root() / sample.path, ignored);
    }
    if (!hash) continue;
    sample.hash = *hash;
    samples.push_back(std::move(sample));
  }
  return samples;
}

void ShardStore::join_slot(const std::string& slot, bool all) {
  const fs::path spool = folder_.root() / kSpool;
  if (!fs::is_directory(spool / slot)) return;
  const SlotLock lock(spool, slot);
  if (!lock.mine()) return;
  const auto most = static_cast<size_t>(options_.shard_clips);
  if (!all && names_in(spool / slot, ".safetensors").size() < most) return;
  std::map<std::string, std::vector<Spooled>> buckets;
  for (Spooled& sample : spooled(slot)) {
    try {
      buckets[bucket_of(read_sample(folder_.root() / sample.path))].push_back(std::move(sample));
    } catch (const UserError& error) {
      log_warning("cannot be put into the data set (a rerun makes it again): ", error.what());
    }
  }
  for (const auto& [bucket, samples] : buckets) {
    for (size_t first = 0; first < samples.size(); first += most) {
      const size_t count = std::min(most, samples.size() - first);
      if (count < most && !all) break;
      const auto from = samples.begin() + static_cast<std::ptrdiff_t>(first);
      make_shard(bucket, {from, from + static_cast<std::ptrdiff_t>(count)});
    }
  }
}

void ShardStore::make_shard(const std::string& bucket, const std::vector<Spooled>& samples) {
  const fs::path beside = work_.path("shard.h5");
  std::error_code error;
  fs::create_directories(beside.parent_path(), error);
  std::vector<fs::path> files;
  for (const Spooled& sample : samples)
    files.push_back(folder_.root() / sample.path);
  write_shard(beside, files, {static_cast<int>(options_.compression)});
  FileEntry entry = file_entry(beside.parent_path(), "hdf5", "shard.h5");
  entry.path = str("hdf5/", bucket, "/shard-", entry.hash.substr(0, 16), ".h5");
  const fs::path target = folder_.root() / entry.path;
  fs::create_directories(target.parent_path(), error);
  if (error) fail("cannot make the folder ", target.parent_path().string(), ": ", error.message());
  if (::rename(beside.c_str(), target.c_str()) != 0)
    fail("cannot write ", target.string(), ": ", std::strerror(errno));
  sync_path(target.parent_path());
  for (const Spooled& sample : samples)
    point_to_shard(sample, entry);
}

/// From now on the sample is in the shard; unless the item was made anew meanwhile.
void ShardStore::point_to_shard(const Spooled& sample, const FileEntry& shard) {
  const FolderLock lock(folder_);
  std::vector<std::string> ignored;
  auto record = read_record(folder_.record(sample.id), ignored);
  const FileEntry* entry = record ? hdf5_entry(*record) : nullptr;
  if (entry == nullptr || entry->path != sample.path || entry->hash != sample.hash) return;
  for (FileEntry& file : record->files) {
    if (file.kind == "hdf5") file = shard;
  }
  work_.write_file(folder_.record(sample.id), to_text(*record));
  std::error_code error;
  fs::remove(folder_.root() / sample.path, error);
}

void ShardStore::finish() {
  for (const std::string& slot : slots_in(folder_.root()))
    join_slot(slot, /*all=*/true);
  remove_unused();
  const DatasetContents contents = dataset_contents(folder_);
  if (contents.shards.empty()) return;
  const fs::path beside = work_.path("dataset.h5");
  std::error_code error;
  fs::create_directories(beside.parent_path(), error);
  write_virtual_set(beside, folder_.root(), contents.shards);
  const fs::path target = folder_.root() / "dataset.h5";
  if (::rename(beside.c_str(), target.c_str()) != 0)
    fail("cannot write ", target.string(), ": ", std::strerror(errno));
  sync_path(folder_.root());
}

/// Only while nobody makes shards: a new one has no records yet.
void ShardStore::remove_unused() {
  std::vector<std::unique_ptr<SlotLock>> locks;
  for (const std::string& slot : slots_in(folder_.root())) {
    locks.push_back(std::make_unique<SlotLock>(folder_.root() / kSpool, slot));
    if (!locks.back()->mine()) return;
  }
  std::set<std::string> used;
  for (const auto& [id, entry] : recorded(folder_))
    used.insert(entry.path);
  std::error_code error;
  for (fs::directory_iterator at(folder_.root() / "hdf5", error), end; !error && at != end;
       at.increment(error)) {
    for (const std::string& name : names_in(at->path(), ".h5")) {
      const std::string path = str("hdf5/", at->path().filename().string(), "/", name);
      std::error_code ignored;
      if (used.count(path) == 0) fs::remove(folder_.root() / path, ignored);
    }
  }
}

DatasetContents dataset_contents(const OutputFolder& folder) {
  DatasetContents contents;
  std::map<std::string, std::set<std::string>> ids;  // of each shard
  for (const auto& [id, entry] : recorded(folder)) {
    if (entry.path.starts_with(str(kSpool, "/"))) {
      contents.spooled.push_back(entry.path);
    } else {
      ids[entry.path].insert(id);
    }
  }
  for (const auto& [path, wanted] : ids) {
    const Shard shard(folder.root() / path);
    ShardRows rows{path, {}};
    for (int64_t row = 0; row < shard.count(); ++row) {
      if (wanted.count(shard.id(row)) > 0) rows.rows.push_back(row);
    }
    contents.shards.push_back(std::move(rows));
  }
  return contents;
}

std::vector<std::string> verify_dataset(const OutputFolder& folder) {
  std::vector<std::string> wrong;
  std::map<std::string, FileEntry> files;
  for (const auto& [id, entry] : recorded(folder))
    files.emplace(entry.path, entry);
  for (const auto& [path, entry] : files) {
    ItemRecord one;
    one.files = {entry};
    const std::string differs = files_differ(one, folder.root(), /*verify=*/true);
    if (!differs.empty()) wrong.push_back(differs);
  }
  return wrong;
}

}  // namespace rushes
