#pragma once
// A part of a run that belongs to one rank alone: what goes wrong in it is told and becomes an exit code, so
// that the rank still meets the others.

#include <functional>

namespace rushes {

/// Gives 0, or the exit code of what went wrong, which is logged. Throws InternalError for bugs.
int guarded(const std::function<void()>& part);

}  // namespace rushes
