#pragma once
// What an exception says to people: LibTorch's own carry a backtrace of addresses and build paths, which
// belongs into no log or record.

#include <exception>
#include <string>

namespace rushes {

std::string message_of(const std::exception& error);

}  // namespace rushes
