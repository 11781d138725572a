#pragma once
// How a run ended, from the records: what is on disk counts, whoever made it.

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "jobs/job.h"
#include "jobs/ledger.h"
#include "jobs/output_folder.h"

namespace rushes {

struct Tally {
  std::set<std::string> done;
  int64_t failed = 0;
  int64_t left = 0;
  std::vector<const Item*> failed_items;  // of the job
};

/// `before`: what was known of each item when the run began.
Tally tally(const ResolvedJob& job, const std::vector<LedgerEntry>& before, const LedgerRules& rules,
            const OutputFolder& folder);

/// failed.jsonl: a job's prompts file of the items that failed; goes where none did. Throws UserError.
void write_failed(const Tally& tally, const OutputFolder& folder, const WorkPlace& work);

}  // namespace rushes
