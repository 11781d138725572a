#pragma once
// What is done, what has failed and what is left to do, decided from the records on disk.

#include <memory>
#include <string>
#include <vector>

#include "jobs/job.h"
#include "jobs/output_folder.h"
#include "jobs/record.h"

namespace rushes {

enum class ItemState { todo, done, failed, refused };

struct LedgerRules {
  std::string run;            // this run
  bool fresh = false;         // only what this run made counts as done
  bool retry_failed = false;  // failed items are tried again, however often they were
  bool verify = false;        // whole checksums
  int64_t retries = 2;
  std::shared_ptr<FileHashes> hashes = std::make_shared<FileHashes>();  // shared by copies
};

/// What is known of one item.
struct LedgerEntry {
  ItemState state = ItemState::todo;
  int64_t attempts = 0;   // failed tries of this very request, to be counted on
  std::string why;        // why an item that has a record is to do again, or is refused; "" otherwise
  bool recorded = false;  // there was a record, whatever it says, or old ones count for nothing (--fresh)
};

bool any_to_do(const std::vector<LedgerEntry>& ledger);
/// Items in this state.
int64_t count_of(const std::vector<LedgerEntry>& ledger, ItemState state);

/// The decision for one item. `record`: its record, if there is a usable one. `files_differ`: what of the
/// record's files is not as recorded ("": nothing). Pure.
LedgerEntry decide(const Item& item, const std::optional<ItemRecord>& record, const std::string& files_differ,
                   const std::vector<std::string>& outputs, const LedgerRules& rules);

/// The same for an item as it lies on disk now; of a refused one, `why` names the changed keys.
LedgerEntry look_up(const ResolvedJob& job, const Item& item, const OutputFolder& folder,
                    const LedgerRules& rules, std::vector<std::string>& warnings);

/// Where an item's outputs lie, relative to the folder; a kind of many files ends in '/'.
std::vector<std::string> outputs_of(const std::string& id, const Job& job);
/// Whether its clips go into a data set (save: [hdf5]).
bool saves_hdf5(const Job& job);

/// Looks up every item, in the order of the job's. Throws UserError listing every item that is refused (same
/// id, another request), with the changed keys and both values.
std::vector<LedgerEntry> read_ledger(const ResolvedJob& job, const OutputFolder& folder,
                                     const LedgerRules& rules, std::vector<std::string>& warnings);

/// A folder belongs to one model and numerics. Throws UserError where it is another's; writes nothing.
void check_folder_identity(const ResolvedJob& job, const OutputFolder& folder);
/// The same with the lock held, and notes the first job's model and numerics.
void note_folder_identity(const ResolvedJob& job, const OutputFolder& folder, const WorkPlace& work);

}  // namespace rushes
