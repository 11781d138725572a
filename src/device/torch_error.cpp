#include "device/torch_error.h"

#include <c10/util/Exception.h>

namespace rushes {

std::string message_of(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  return torch == nullptr ? error.what() : torch->what_without_backtrace();
}

}  // namespace rushes
