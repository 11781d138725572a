#pragma once
// history.jsonl in the references' root: a line for every comparison, which outlives the output folders.

#include <map>
#include <string>
#include <vector>

#include "regression/comparison.h"

namespace rushes {

struct NightlyClip {
  std::string verdict;
  double worst_ssim = 0;
  double mean_ssim = 0;
  bool compared = false;
};

/// One comparison of the past.
struct Night {
  std::string time;  // UTC
  std::string output;
  std::string run;
  std::string build;
  bool passed = false;
  std::map<std::string, NightlyClip> clips;  // by "<model>/<key>/<id>"

  /// The lowest SSIM of a frame of any clip of these; nothing where none was compared.
  std::optional<double> worst(const std::vector<std::string>& names) const;
};

std::string history_name(const ClipComparison& clip);

/// Appends the comparison. Throws UserError where it cannot be written.
void note_in_history(const ReferenceStore& references, const Comparison& comparison);

/// The latest `most` comparisons, oldest first; of one output and run only the last. Lines that are no
/// history are left out.
std::vector<Night> read_history(const ReferenceStore& references, size_t most);

}  // namespace rushes
