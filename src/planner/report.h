#pragma once
// A plan's answer as the rows of a table, for people.

#include <string>
#include <vector>

#include "planner/planner.h"

namespace rushes {

/// A heading, then a row a candidate; "*" marks the chosen one.
std::vector<std::vector<std::string>> candidate_rows(const PlanAnswer& answer);
/// Why the chosen one wins, and what was left out and why.
std::vector<std::string> reason_lines(const PlanAnswer& answer);
/// The chosen one's seconds by stage: "text encoding 0.10 s, denoising 61.2 s, decoding 4.80 s".
std::string stage_times(const Candidate& candidate);

}  // namespace rushes
