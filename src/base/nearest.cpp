#include "base/nearest.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace rushes {

int edit_distance(const std::string& a, const std::string& b) {
  const size_t rows = a.size() + 1, columns = b.size() + 1;
  std::vector<int> cost(rows * columns);
  const auto at = [&](size_t i, size_t j) -> int& { return cost[i * columns + j]; };
  for (size_t i = 0; i < rows; ++i)
    at(i, 0) = static_cast<int>(i);
  for (size_t j = 0; j < columns; ++j)
    at(0, j) = static_cast<int>(j);
  for (size_t i = 1; i < rows; ++i) {
    for (size_t j = 1; j < columns; ++j) {
      const int replace = at(i - 1, j - 1) + (a[i - 1] != b[j - 1]);
      at(i, j) = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
      }
    }
  }
  return at(rows - 1, columns - 1);
}

std::string nearest(const std::string& word, const std::vector<std::string>& known) {
  if (word.size() > 100) return {};  // nobody misspells a word of that length
  std::string best;
  // One slip in a short word, two in a longer one: more would make any word like any other.
  const int most = word.size() <= 4 ? 1 : std::max<int>(2, static_cast<int>(word.size()) / 3);
  int fewest = most + 1;
  for (const std::string& candidate : known) {
    // Every letter more or less is an edit.
    const auto longer = static_cast<int64_t>(candidate.size()) - static_cast<int64_t>(word.size());
    if (std::abs(longer) >= fewest) continue;
    const int edits = edit_distance(word, candidate);
    if (edits < fewest) {
      fewest = edits;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& known) {
  const std::string best = nearest(word, known);
  return best.empty() ? std::string() : "; did you mean '" + best + "'?";
}

}  // namespace rushes
