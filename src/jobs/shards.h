#pragma once
// save: [hdf5]: from clips that were spooled one by one to closed shards and one file that shows them all.
//
//   hdf5/spool/<slot>/<id>.safetensors   a committed clip that is in no shard yet
//   hdf5/<bucket>/shard-<hash>.h5        closed shards
//   dataset.h5                           all samples as one, by reference
//
// An item's record says where its sample is: in the spool, or in which shard. A shard is made whole beside,
// renamed, and only then do records point to it and leave the spool; whoever dies in between leaves samples
// in the spool that go into another shard, and rows that no record points to.

#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "datasets/shard.h"
#include "jobs/output_folder.h"
#include "jobs/record.h"

namespace rushes {

class ShardStore {
 public:
  ShardStore(const OutputFolder& folder, const WorkPlace& work, DatasetOptions options)
      : folder_(folder), work_(work), options_(std::move(options)) {}

  /// Where a clip of the replica's is spooled, relative to the folder. Replicas share slots, so that there
  /// are few, and each is joined by one process at a time.
  static std::string spool_path(int64_t replica, const std::string& id);

  /// Makes shards of what lies in the replica's slot, as many as can be full; with `all` of the rest too.
  /// Does nothing while another process is at it. Throws UserError (the disk).
  void join(int64_t replica, bool all);
  /// What finish() found wrong; told in warnings.
  struct Findings {
    bool taken_back = false;  // samples were damaged: their items are to be made again
    bool unreadable = false;  // shards that records speak of cannot be read, and are left out
  };
  /// Waits for others that make shards; then joins all that is spooled, writes dataset.h5, and removes shards
  /// without a row that counts.
  Findings finish();

 private:
  struct Spooled;
  static std::string slot_of(int64_t replica);
  void join_slot(const std::string& slot, bool all);  // its lock is held
  std::optional<std::string> bucket_if_whole(const Spooled& sample);
  std::vector<Spooled> spooled(const std::string& slot) const;
  enum class Claimed { yes, no, unknown };
  Claimed spooled_hash(const std::string& id, const std::string& path, std::string& hash) const;
  void make_shard(const std::string& bucket, const std::vector<Spooled>& samples);
  void point_to_shard(const Spooled& sample, const struct FileEntry& shard);
  void remove_unused(const struct DatasetContents& contents);

  OutputFolder folder_;
  const WorkPlace& work_;
  DatasetOptions options_;
  bool taken_back_ = false;
  int64_t made_ = 0;  // shards, by this process
};

/// The shards of an output folder and their rows that count, by the items' records; and the samples that are
/// still spooled (paths relative to the folder).
struct DatasetContents {
  std::vector<ShardRows> shards;
  std::vector<std::string> spooled;
  bool all_read = true;                 // every record
  std::vector<std::string> unreadable;  // shards
};
/// A shard is opened only where its size and time are as recorded, else (and with `verify` always) its bytes.
DatasetContents dataset_contents(const OutputFolder& folder, bool verify, FileHashes& hashes);
DatasetContents dataset_contents(const OutputFolder& folder);

/// Where the item's sample is by its record now, relative to the folder; nothing where it has none.
std::optional<std::string> sample_path(const OutputFolder& folder, const std::string& id);

/// What a sample holds as `dataset.pixels`: "video", "frames" or "none". `path`: of its shard, or of the
/// spooled sample; relative to `root`. Throws UserError where that cannot be read.
std::string pixels_of(const std::filesystem::path& root, const std::string& path);

/// Samples whose files are not as recorded: "<path>: <what>". Reads everything.
std::vector<std::string> verify_dataset(const OutputFolder& folder, FileHashes& hashes);

}  // namespace rushes
