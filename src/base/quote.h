#pragma once
// How words out of files are quoted in messages.

#include <string>

namespace rushes {

/// A word out of a file in single quotes: control characters escaped, a long one cut in the middle.
std::string quote_name(const std::string& name);

}  // namespace rushes
