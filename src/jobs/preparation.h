#pragma once
// What rank 0 does before a run, and what it tells the other ranks.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "jobs/ledger.h"
#include "jobs/owner.h"
#include "jobs/run_job.h"

namespace rushes {

/// A process at home in an output folder: owner file, heartbeat, work place. Leaves nothing behind.
struct Residence {
  Residence(const OutputFolder& folder, OwnerStatus status)
      : owner(folder.owners(), status), work(folder, status.token) {}
  Owner owner;
  WorkPlace work;  // goes before the owner's file does: no file of a process without an owner
};

/// What every rank needs to know; rank 0's is broadcast.
struct Start {
  int code = 0;     // not 0: the run ends here with this exit code
  std::string run;  // names the run in records and events
  std::string digest;
  std::vector<LedgerEntry> ledger;
  Parallel layout;      // every axis a number
  std::string first;    // token of rank 0
  double seconds = 0;   // until a time limit ends the run; 0: none is known
  uint64_t events = 0;  // bytes of events.jsonl before the ledger was read: what comes after is news to it
};
std::string start_text(const Start& start);
Start start_from(const std::string& text);

/// Changes where ranks would not do the same work: ids and requests of every item, in order.
std::string digest_of(const ResolvedJob& job);

/// The status that this process starts with.
OwnerStatus first_status(const World& world, const std::string& run, const std::string& first);

/// Checks the folder (whose model it holds, ids of other requests) and makes it ready: folders, job.yaml,
/// manifest, dead owners' leftovers. Throws UserError, with nothing written where a check failed.
/// `residence` is made on the way.
Start prepare(const World& world, const ResolvedJob& job, const RunRequest& request,
              std::unique_ptr<Residence>& residence);

/// Starts that stopped early with nothing made, one after the other; the file is made once and rewritten in
/// place, so that it works on a full disk.
class RestartCount {
 public:
  explicit RestartCount(const OutputFolder& folder);
  int64_t value() const;
  void set(int64_t value) const;

 private:
  std::filesystem::path path_;
};

/// A --fresh run that was stopped goes on under its first name, so that what it made again is kept; the name
/// is forgotten when a run of the same job (`digest`) is through with all items. The lock is held.
std::string fresh_run_name(const OutputFolder& folder, const WorkPlace& work, const std::string& name,
                           const std::string& digest);
void end_fresh_run(const OutputFolder& folder, const std::string& digest);

}  // namespace rushes
