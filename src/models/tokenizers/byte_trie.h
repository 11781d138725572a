#pragma once
// Byte strings with a number each, looked up by walking over a text.

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace rushes {

class ByteTrie {
 public:
  using Node = uint32_t;
  static constexpr Node kRoot = 0;
  static constexpr Node kNone = 0xFFFFFFFF;

  ByteTrie() { build({}); }
  /// Values are >= 0. Of equal keys the last one counts; the empty key is left out. The keys' bytes are not
  /// kept.
  explicit ByteTrie(std::vector<std::pair<std::string_view, int32_t>> entries) { build(std::move(entries)); }

  /// The node after `byte`, or kNone.
  Node step(Node node, char byte) const {
    const auto label = static_cast<unsigned char>(byte);
    if (node == kRoot) return root_[label];
    const Node first = first_child_[node];
    const Node end = first_child_[node + 1];
    const void* found = std::memchr(labels_.data() + first, label, end - first);
    return found == nullptr ? kNone
                            : static_cast<Node>(static_cast<const unsigned char*>(found) - labels_.data());
  }
  /// The value of the key that ends at this node, or -1.
  int32_t value(Node node) const { return values_[node]; }
  /// The value of exactly this key, or -1.
  int32_t find(std::string_view key) const;
  /// Bytes of the longest key.
  size_t longest() const { return longest_; }

 private:
  void build(std::vector<std::pair<std::string_view, int32_t>> entries);

  // Nodes lie breadth first: the children of a node are neighbours, in the order of their labels.
  std::vector<Node> root_;         // 256 children of the root
  std::vector<Node> first_child_;  // by node, and one past the last
  std::vector<unsigned char> labels_;
  std::vector<int32_t> values_;
  size_t longest_ = 0;
};

}  // namespace rushes
