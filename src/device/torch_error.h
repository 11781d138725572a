#pragma once
// What an exception says to people: LibTorch's own carry a backtrace of addresses and build paths, which
// belongs into no log or record.

#include <exception>
#include <optional>
#include <string>

namespace rushes {

std::string message_of(const std::exception& error);

/// Has memory run out, the process's or a GPU's? Gives how much was asked for in vain ("2.5 GiB"), "" where
/// the error does not say; nothing for any other error.
std::optional<std::string> memory_shortage(const std::exception& error);

}  // namespace rushes
