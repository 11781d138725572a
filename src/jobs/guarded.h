#pragma once
// A part of a run that belongs to one rank alone: what goes wrong in it becomes an exit code, so that the
// rank still meets the others.

#include <c10/util/FunctionRef.h>

namespace rushes {

/// Gives 0, or the exit code of what went wrong, which is logged (a stop where RUSHES_LOG is debug). Throws
/// InternalError for bugs. Asks for no memory, of which there may be none.
int guarded(c10::function_ref<void()> part);

}  // namespace rushes
