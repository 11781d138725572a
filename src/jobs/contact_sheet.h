#pragma once
// contact-sheet.png: a look at the whole job in one picture.

#include <set>
#include <string>
#include <vector>

#include "base/stop.h"
#include "jobs/job.h"
#include "jobs/output_folder.h"

namespace rushes {

/// `most` numbers of 0 ... count - 1, or all of them where there are no more, the first and the last among
/// them, evenly apart, rising.
std::vector<size_t> spread_evenly(size_t count, size_t most);

/// Writes `contact-sheet.png`: the middle frames of up to 60 of the `done` items, spread evenly over the
/// job's order. From frames/ where they are saved, else from videos/; nothing where neither is. Reads no more
/// than these: seconds for large clips. What cannot be read is left out, with a warning; gives up where a
/// stop is asked for. Throws UserError where the sheet cannot be written.
void write_contact_sheet(const ResolvedJob& job, const OutputFolder& folder, const WorkPlace& work,
                         const std::set<std::string>& done, const StopToken& stop);

}  // namespace rushes
