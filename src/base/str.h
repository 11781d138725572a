#pragma once
// Text out of values: the one way messages are put together.

#include <sstream>
#include <string>

namespace rushes {

/// The values written one after the other, as `<<` writes them. (Constrained, so that it is chosen over
/// c10::str, which is found too where one of the values is c10's.)
template <class... Values>
requires true std::string str(const Values&... values) {
  std::ostringstream out;
  (out << ... << values);
  return std::move(out).str();
}

/// The elements of `items` between separators: join({1, 2}, " x ") is "1 x 2".
template <class Range>
std::string join(const Range& items, const std::string& separator) {
  std::ostringstream out;
  bool first = true;
  for (const auto& item : items) {
    if (!first) out << separator;
    out << item;
    first = false;
  }
  return std::move(out).str();
}

}  // namespace rushes
