#pragma once
// The C interface only: the C++ bindings that Open MPI 4 still ships are long gone from the standard.

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include "base/error.h"

namespace rushes {

/// InternalError where an MPI call failed; `what` names the call.
inline void must(int result, const char* what) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw InternalError(str(what, ": ", text));
}

}  // namespace rushes
