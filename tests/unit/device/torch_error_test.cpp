#include "device/torch_error.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <new>

#include "base/error.h"

using namespace rushes;

namespace {

/// What memory_shortage() makes of what `work` throws.
std::optional<std::string> shortage_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    return memory_shortage(error);
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("a lack of memory is known by whatever throws it, with what was asked for") {
  CHECK(shortage_of([] { throw std::bad_alloc(); }) == "");
  CHECK(shortage_of([] { at::empty({int64_t{1} << 50}, at::kByte); }) == "1048576.0 GiB");
  CHECK(shortage_of([] { at::empty({int64_t{1} << 48}, at::kFloat); }) == "1048576.0 GiB");
  CHECK(shortage_of([] {
          TORCH_CHECK_WITH(OutOfMemoryError, false,
                           "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has");
        }) == "2.5 GiB");
  CHECK(shortage_of([] {
          TORCH_CHECK_WITH(OutOfMemoryError, false,
                           "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0");
        }) == "512.0 MiB");
  CHECK(shortage_of([] { TORCH_CHECK(false, "CUDA error: out of memory"); }) == "");
  CHECK(shortage_of([] { TORCH_CHECK(false, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"); }) == "");
  CHECK(shortage_of([] { fail("cannot map model.safetensors: Cannot allocate memory"); }) == "");
}

TEST_CASE("other errors are no lack of memory") {
  CHECK(shortage_of([] { at::zeros({2}) + at::zeros({3}); }) == std::nullopt);
  CHECK(shortage_of([] { TORCH_CHECK(false, "CUDA error: an illegal memory access was encountered"); }) ==
        std::nullopt);
  CHECK(shortage_of([] { fail("the prompt says: out of milk"); }) == std::nullopt);
  CHECK(shortage_of([] { throw std::runtime_error("out of memory, says some library"); }) == std::nullopt);
  CHECK(shortage_of([] { throw StoppedEarly("stopped"); }) == std::nullopt);
}
