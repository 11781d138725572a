#include "device/device.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sched.h>

#include <catch2/catch.hpp>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "support/devices.h"

namespace rushes {
namespace {

TEST_CASE("the machine is described") {
  const DeviceInfo info = device_info();
  CHECK(!info.cpu_model.empty());
  CHECK(info.cores >= 1);
  CHECK(info.cpu_level == at::get_cpu_capability());
  CHECK(info.memory_bytes > (int64_t{1} << 28));
  CHECK(info.cuda.empty() == !info.why_no_cuda.empty());
}

TEST_CASE("cores are those this process may use") {
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &before)) {
      CPU_SET(i, &one);
      break;
    }
  }
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  CHECK(device_info().cores == 1);
  REQUIRE(sched_setaffinity(0, sizeof(before), &before) == 0);
  CHECK(device_info().cores == CPU_COUNT(&before));
}

TEST_CASE("a rank gets the device it asks for, or the reason why not") {
  CHECK(pick_device(DeviceKind::cpu, 3) == at::Device(at::kCPU));
  const DeviceInfo info = device_info();
  if (info.cuda.empty()) {
    CHECK(pick_device(DeviceKind::automatic, 0) == at::Device(at::kCPU));
    CHECK_THROWS_WITH(pick_device(DeviceKind::cuda, 0), Catch::Contains(info.why_no_cuda));
    CHECK_THROWS_AS(pick_device(DeviceKind::cuda, 0), UserError);
  }
  CHECK_THROWS_AS(pick_device(DeviceKind::cpu, -1), InternalError);
}

TEST_CASE("ranks of a node go round its GPUs", "[gpu]") {
  if (!test::has_gpu()) return;
  const DeviceInfo info = device_info();
  REQUIRE(!info.cuda.empty());
  const int count = static_cast<int>(info.cuda.size());
  CHECK(pick_device(DeviceKind::cuda, count + 0) == pick_device(DeviceKind::automatic, 0));
  CHECK(info.cuda[0].memory_bytes > 0);
  const at::Device device = pick_device(DeviceKind::cuda, 0);
  const at::Tensor held = at::ones({1 << 20}, at::TensorOptions().device(device));
  CHECK(peak_memory(device) >= held.numel() * 4);
}

TEST_CASE("loops of our own are shared by all threads") {
  // ATen's parallel_for is a template that is serial wherever it is compiled without OpenMP.
  const int before = at::get_num_threads();
  set_threads(3);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  at::parallel_for(0, 3, 1, [&](int64_t, int64_t) {
    const std::lock_guard<std::mutex> lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  CHECK(seen.size() == 3);
  set_threads(before);
}

TEST_CASE("threads and peak memory") {
  const int before = at::get_num_threads();
  set_threads(1);
  CHECK(at::get_num_threads() == 1);
  set_threads(before);
  CHECK_THROWS_AS(set_threads(0), InternalError);
  const int64_t peak = peak_memory(at::kCPU);
  const at::Tensor held = at::ones({int64_t{1} << 26});  // 256 MiB, touched
  CHECK(peak_memory(at::kCPU) >= std::max(peak, held.numel() * 4));
}

}  // namespace
}  // namespace rushes
