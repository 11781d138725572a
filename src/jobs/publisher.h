#pragma once
// From a finished clip to files and a record. The files are made whole in the process's own work place; then,
// in one short moment under the folder's lock, the old record goes, the files take their places, and the new
// record is written. Whoever dies in between leaves an item without a record: not done, to be made again.

#include <string>

#include "jobs/claims.h"
#include "jobs/events.h"
#include "jobs/job.h"
#include "jobs/record.h"
#include "jobs/shards.h"
#include "media/ffmpeg/video.h"

namespace rushes {

/// Of the process, for the records.
struct RunFacts {
  std::string run;
  int rank = 0;
  std::string host;
  std::string batch_job;  // the batch system's job id, if any
  std::string layout;     // ParallelPlan::text()
  int threads = 1;
  std::string device;
  bool fresh = false;  // nothing of an earlier run is kept
  int64_t replica = 0;
};

/// A finished clip on its way to disk.
struct Delivery {
  const Item* item = nullptr;
  Clip clip = {};
  int64_t attempts = 1;        // this one counted
  double seconds = 0;          // of making it
  std::string started;         // utc_now() then
  nlohmann::json memory = {};  // what the clip went without: MemoryLadder::record()
  nlohmann::json legs = {};    // what earlier processes made of it: ClipCheckpoint::legs()
};

class Publisher {
 public:
  Publisher(const ResolvedJob& job, const OutputFolder& folder, const WorkPlace& work, Claims& claims,
            const EventLog& events, RunFacts facts);

  /// Encodes, writes, publishes, gives up the claim. Throws UserError: the disk (see is_disk_trouble) or this
  /// clip is at fault; nothing is published then and the claim is kept.
  void deliver(const Delivery& delivery);
  /// Joins what this replica has spooled to shards where there is enough for one; with `all` the rest too.
  /// Throws UserError: the disk.
  void join_shards(bool all);
  /// Records that an item failed and gives up the claim. Throws UserError where that cannot be written.
  void fail_item(const Item& item, const std::string& error, int64_t attempts,
                 const nlohmann::json& memory = {});

 private:
  nlohmann::json describe(const Item& item) const;
  /// Makes the outputs in the work place: pairs of (there, path in the folder).
  std::vector<std::pair<std::filesystem::path, std::string>> encode(const Delivery& delivery) const;
  VideoFormat video_format() const;
  Sample sample_of(const Delivery& delivery, const std::filesystem::path& video) const;
  void remove_spooled_but(const std::string& id, const std::vector<FileEntry>& kept) const;
  void move_into_place(const std::filesystem::path& from, const std::string& to) const;
  std::optional<ItemRecord> still_good(const Item& item) const;
  void remove_outputs_but(const std::string& id, const std::vector<FileEntry>& kept) const;
  void take_back_record(const std::string& id, const std::optional<ItemRecord>& kept) const;

  const ResolvedJob& resolved_;
  const Job& job_;
  OutputFolder folder_;
  const WorkPlace& work_;
  Claims& claims_;
  const EventLog& events_;
  RunFacts facts_;
  ShardStore shards_;
  int64_t spooled_ = 0;  // since shards were made last
};

}  // namespace rushes
