#pragma once
// Which devices a test can run on.

#include <ATen/Context.h>

#include <iostream>

namespace rushes::test {

/// Is there a GPU? Says "skipped: no GPU" where not, which CTest takes for a skipped test.
inline bool has_gpu() {
  if (at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0) return true;
  std::cout << "skipped: no GPU\n";
  return false;
}

}  // namespace rushes::test
