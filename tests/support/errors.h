#pragma once
// What a call that a user can get wrong says.

#include <functional>
#include <string>

#include "base/error.h"

namespace rushes {

/// The UserError's text, or "no error".
inline std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace rushes
