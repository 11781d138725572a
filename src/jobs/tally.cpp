#include "jobs/tally.h"

#include "jobs/resolution.h"

namespace rushes {

Tally tally(const ResolvedJob& job, const std::vector<LedgerEntry>& before, const LedgerRules& rules,
            const OutputFolder& folder) {
  Tally now;
  std::vector<std::string> ignored;
  for (size_t i = 0; i < job.items.size(); ++i) {
    LedgerRules here = rules;
    here.verify = !before[i].why.empty();
    const LedgerEntry entry = look_up(job, job.items[i], folder, here, ignored);
    const bool tried = entry.attempts > before[i].attempts;  // and failed, by another run over this folder
    if (entry.state == ItemState::done) {
      now.done.insert(job.items[i].id);
    } else if (entry.state == ItemState::todo && !tried) {
      ++now.left;
    } else {
      ++now.failed;
      now.failed_items.push_back(&job.items[i]);
    }
  }
  return now;
}

void write_failed(const Tally& tally, const OutputFolder& folder, const WorkPlace& work) {
  if (tally.failed_items.empty()) {
    std::error_code ignored;
    std::filesystem::remove(folder.failed(), ignored);
    return;
  }
  std::string lines;
  for (const Item* item : tally.failed_items) {
    lines += prompt_line(*item).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  work.write_file(folder.failed(), lines);
}

}  // namespace rushes
