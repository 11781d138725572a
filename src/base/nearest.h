#pragma once
// "Did you mean ...?": the known word nearest to a misspelt one.

#include <string>
#include <vector>

namespace rushes {

/// Damerau-Levenshtein distance (insert, delete, replace, swap of neighbours), in edits.
int edit_distance(const std::string& a, const std::string& b);
/// The known word with the fewest edits from `word`, or "" where even that one is further than a third of its
/// length (and than 2).
std::string nearest(const std::string& word, const std::vector<std::string>& known);
/// "; did you mean 'x'?" or "".
std::string did_you_mean(const std::string& word, const std::vector<std::string>& known);

}  // namespace rushes
