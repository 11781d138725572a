#include "models/tokenizers/byte_trie.h"

#include <algorithm>

namespace rushes {

void ByteTrie::build(std::vector<std::pair<std::string_view, int32_t>> entries) {
  std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Span {
    size_t begin, end, depth;  // the entries that share a node's path of `depth` bytes
  };
  std::vector<Span> spans = {{0, entries.size(), 0}};
  labels_ = {0};
  values_ = {-1};
  for (size_t node = 0; node < spans.size(); ++node) {
    const Span span = spans[node];
    size_t at = span.begin;
    while (at < span.end && entries[at].first.size() == span.depth) {
      values_[node] = entries[at++].second;
      longest_ = std::max(longest_, span.depth);
    }
    first_child_.push_back(static_cast<Node>(spans.size()));
    while (at < span.end) {
      const char label = entries[at].first[span.depth];
      size_t end = at + 1;
      while (end < span.end && entries[end].first[span.depth] == label) {
        ++end;
      }
      spans.push_back({at, end, span.depth + 1});
      labels_.push_back(static_cast<unsigned char>(label));
      values_.push_back(-1);
      at = end;
    }
  }
  first_child_.push_back(static_cast<Node>(spans.size()));
  root_.assign(256, kNone);
  for (Node child = first_child_[kRoot]; child < first_child_[kRoot + 1]; ++child) {
    root_[labels_[child]] = child;
  }
}

int32_t ByteTrie::find(std::string_view key) const {
  Node node = kRoot;
  for (const char byte : key) {
    node = step(node, byte);
    if (node == kNone) return -1;
  }
  return value(node);
}

}  // namespace rushes
