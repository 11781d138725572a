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
  /// `wait`: until it is free; else mine() may be false.
  SlotLock(const fs::path& spool, const std::string& slot, bool wait)
      : fd_(::open((spool / (slot + ".lock")).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail("cannot write ", (spool / (slot + ".lock")).string(), ": ", std::strerror(errno));
    int result = 0;
    do {
      result = ::flock(fd_, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    mine_ = result == 0;
    const int why = errno;
    if (!mine_ && (wait || why != EWOULDBLOCK)) {
      ::close(fd_);
      fail("cannot lock ", (spool / (slot + ".lock")).string(), ": ", std::strerror(why));
    }
  }
  ~SlotLock() { ::close(fd_); }
  SlotLock(const SlotLock&) = delete;
  SlotLock& operator=(const SlotLock&) = delete;
  bool mine() const { return mine_; }

 private:
  int fd_;
  bool mine_ = false;
};

/// Throws where the folder cannot be read whole: what is not seen must not count as not there.
std::vector<std::string> names_in(const fs::path& folder, const std::string& ending) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  if (error == std::errc::no_such_file_or_directory) return names;
  for (const fs::directory_iterator end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(ending) && name[0] != '.') names.push_back(name);
  }
  if (error) fail("cannot read the folder ", folder.string(), ": ", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

const FileEntry* hdf5_entry(const ItemRecord& record) {
  for (const FileEntry& file : record.files) {
    if (record.done && file.kind == "hdf5") return &file;
  }
  return nullptr;
}

/// Every record's sample: id -> entry. `all_read`: whether every record could be read.
std::map<std::string, FileEntry> recorded(const OutputFolder& folder, bool& all_read) {
  std::map<std::string, FileEntry> samples;
  std::vector<std::string> unusable;
  for (const std::string& name : names_in(folder.root() / "items", ".json")) {
    const auto record = read_record(folder.root() / "items" / name, unusable);
    if (!record) continue;
    if (const FileEntry* entry = hdf5_entry(*record)) samples.emplace(record->id, *entry);
  }
  all_read = unusable.empty();
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

/// Does the item's record speak of this sample? Then `hash` is what it says of its bytes.
ShardStore::Claimed ShardStore::spooled_hash(const std::string& id, const std::string& path,
                                             std::string& hash) const {
  std::vector<std::string> unusable;
  const auto record = read_record(folder_.record(id), unusable);
  if (!unusable.empty()) return Claimed::unknown;
  const FileEntry* entry = record ? hdf5_entry(*record) : nullptr;
  if (entry == nullptr || entry->path != path) return Claimed::no;
  hash = entry->hash;
  return Claimed::yes;
}

/// What counts of a slot's samples. What does not is removed: a record is written last and under the folder's
/// lock, so that a sample without one is of a process that died.
std::vector<ShardStore::Spooled> ShardStore::spooled(const std::string& slot) const {
  std::vector<Spooled> samples;
  const std::string folder = str(kSpool, "/", slot);
  for (const std::string& name : names_in(folder_.root() / folder, ".safetensors")) {
    Spooled sample{name.substr(0, name.size() - std::strlen(".safetensors")), folder + "/" + name, {}};
    Claimed claimed = spooled_hash(sample.id, sample.path, sample.hash);
    if (claimed == Claimed::no) {
      const FolderLock lock(folder_);
      claimed = spooled_hash(sample.id, sample.path, sample.hash);
      std::error_code ignored;
      if (claimed == Claimed::no) fs::remove(folder_.root() / sample.path, ignored);
    }
    if (claimed == Claimed::yes) samples.push_back(std::move(sample));
  }
  return samples;
}

void ShardStore::join(int64_t replica, bool all) {
  const std::string slot = slot_of(replica);
  const fs::path spool = folder_.root() / kSpool;
  if (!fs::is_directory(spool / slot)) return;
  const SlotLock lock(spool, slot, /*wait=*/false);
  if (lock.mine()) join_slot(slot, all);
}

void ShardStore::join_slot(const std::string& slot, bool all) {
  const auto most = static_cast<size_t>(options_.shard_clips);
  const std::vector<std::string> names = names_in(folder_.root() / kSpool / slot, ".safetensors");
  if (names.empty() || (!all && names.size() < most)) return;
  std::map<std::string, std::vector<Spooled>> buckets;
  for (Spooled& sample : spooled(slot)) {
    if (const auto bucket = bucket_if_whole(sample)) buckets[*bucket].push_back(std::move(sample));
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

/// Its bucket, where its bytes are those that the record speaks of. Else the record is taken back: the item
/// is to be made again.
std::optional<std::string> ShardStore::bucket_if_whole(const Spooled& sample) {
  const fs::path path = folder_.root() / sample.path;
  std::string why = "it has other bytes than recorded";
  try {
    if (hash_file(path) == sample.hash) {
      const Sample content = read_sample(path);
      if (content.id == sample.id) return bucket_of(content);
    }
  } catch (const UserError& error) {
    why = error.what();
  }
  const FolderLock lock(folder_);
  std::string hash;
  if (spooled_hash(sample.id, sample.path, hash) != Claimed::yes || hash != sample.hash) return std::nullopt;
  log_warning(path.string(), " is damaged, and its item is to be made again: ", why);
  std::error_code error;
  fs::remove(folder_.record(sample.id), error);
  fs::remove(path, error);
  taken_back_ = true;
  return std::nullopt;
}

void ShardStore::make_shard(const std::string& bucket, const std::vector<Spooled>& samples) {
  // Where closing a file failed the library still holds it, and its name cannot be used again.
  const std::string name = str("shard-", ++made_, ".h5");
  const fs::path beside = work_.path(name);
  std::error_code error;
  fs::create_directories(beside.parent_path(), error);
  std::vector<fs::path> files;
  for (const Spooled& sample : samples)
    files.push_back(folder_.root() / sample.path);
  try {
    write_shard(beside, files, {static_cast<int>(options_.compression)});
  } catch (...) {
    fs::remove(beside, error);  // what is left of it takes space
    throw;
  }
  FileEntry entry = file_entry(beside.parent_path(), "hdf5", name);
  entry.path = str("hdf5/", bucket, "/shard-", entry.hash.substr(0, 16), ".h5");
  put_in_place(beside, folder_.root() / entry.path);
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

ShardStore::Findings ShardStore::finish() {
  const fs::path spool = folder_.root() / kSpool;
  if (!fs::is_directory(spool)) return {};
  // One at a time, while nobody makes shards: what is written down then stays true.
  const SlotLock finishing(spool, "finish", /*wait=*/true);
  std::vector<std::unique_ptr<SlotLock>> locks;
  for (int64_t slot = 0; slot < kSlots; ++slot)
    locks.push_back(std::make_unique<SlotLock>(spool, str(slot), /*wait=*/true));
  for (int64_t slot = 0; slot < kSlots; ++slot)
    join_slot(str(slot), /*all=*/true);
  const DatasetContents contents = dataset_contents(folder_);
  for (const std::string& shard : contents.unreadable)
    log_error("left out of dataset.h5: ", shard);
  const fs::path beside = work_.path("dataset.h5"), target = folder_.root() / "dataset.h5";
  std::error_code error;
  if (contents.shards.empty()) {
    fs::remove(target, error);
  } else {
    fs::create_directories(beside.parent_path(), error);
    write_virtual_set(beside, folder_.root(), contents.shards);
    put_in_place(beside, target);
  }
  remove_unused(contents);
  return {taken_back_, !contents.unreadable.empty()};
}

/// Shards that no record speaks of: of items that were made anew, or of processes that died before they said
/// so. The locks of all slots are held, so none is just being made.
void ShardStore::remove_unused(const DatasetContents& contents) {
  if (!contents.all_read || !contents.unreadable.empty()) return;
  std::set<std::string> used;
  for (const ShardRows& rows : contents.shards)
    used.insert(rows.file);
  std::error_code error;
  for (fs::directory_iterator at(folder_.root() / "hdf5", error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;
    if (!at->is_directory(ignored)) continue;  // somebody's own file
    for (const std::string& name : names_in(at->path(), ".h5")) {
      const std::string path = str("hdf5/", at->path().filename().string(), "/", name);
      if (used.count(path) == 0) fs::remove(folder_.root() / path, ignored);
    }
  }
}

DatasetContents dataset_contents(const OutputFolder& folder, bool verify, FileHashes& hashes) {
  DatasetContents contents;
  std::map<std::string, std::set<std::string>> ids;  // of each shard
  std::map<std::string, FileEntry> entries;
  for (const auto& [id, entry] : recorded(folder, contents.all_read)) {
    if (entry.path.starts_with(str(kSpool, "/"))) {
      contents.spooled.push_back(entry.path);
    } else {
      ids[entry.path].insert(id);
      entries.emplace(entry.path, entry);
    }
  }
  for (const auto& [path, wanted] : ids) {
    try {
      // HDF5 itself may crash on a damaged file, so that one must not get that far.
      ItemRecord one;
      one.files = {entries.at(path)};
      if (const std::string differs = files_differ(one, folder.root(), verify, hashes); !differs.empty())
        fail(differs);
      const Shard shard(folder.root() / path);
      ShardRows rows{path, {}};
      for (int64_t row = 0; row < shard.count(); ++row) {
        if (wanted.count(shard.id(row)) > 0) rows.rows.push_back(row);
      }
      contents.shards.push_back(std::move(rows));
    } catch (const UserError& error) {
      contents.unreadable.push_back(
          str(path, ", which ", wanted.size(), " items' records name: ", error.what()));
    }
  }
  return contents;
}

DatasetContents dataset_contents(const OutputFolder& folder) {
  FileHashes hashes;
  return dataset_contents(folder, /*verify=*/false, hashes);
}

std::optional<std::string> sample_path(const OutputFolder& folder, const std::string& id) {
  std::vector<std::string> unusable;
  const auto record = read_record(folder.record(id), unusable);
  const FileEntry* entry = record ? hdf5_entry(*record) : nullptr;
  return entry == nullptr ? std::nullopt : std::optional(entry->path);
}

std::string pixels_of(const fs::path& root, const std::string& path) {
  // A shard's folder is its bucket, which names the parts.
  const bool spooled = path.starts_with(str(kSpool, "/"));
  const std::string bucket =
      spooled ? bucket_of(read_sample(root / path)) : fs::path(path).parent_path().filename().string();
  for (const char* part : {"video", "frames"}) {
    if (str("-", bucket).find(str("-", part)) != std::string::npos) return part;
  }
  return "none";
}

std::vector<std::string> verify_dataset(const OutputFolder& folder, FileHashes& hashes) {
  std::vector<std::string> wrong;
  std::map<std::string, FileEntry> files;
  bool all_read = true;
  for (const auto& [id, entry] : recorded(folder, all_read))
    files.emplace(entry.path, entry);
  for (const auto& [path, entry] : files) {
    ItemRecord one;
    one.files = {entry};
    const std::string differs = files_differ(one, folder.root(), /*verify=*/true, hashes);
    if (!differs.empty()) wrong.push_back(differs);
  }
  if (!all_read) wrong.emplace_back("some items' records cannot be read");
  return wrong;
}

}  // namespace rushes
