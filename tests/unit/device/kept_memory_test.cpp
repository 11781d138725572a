#include "device/kept_memory.h"

#include <ATen/ATen.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace rushes {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

at::Tensor mebibytes(int64_t count) {
  return at::empty({count * kMiB}, at::kByte);
}

/// The first byte of its page: tensors begin at different places of one.
void* pages_of(const at::Tensor& tensor) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(tensor.data_ptr()) & ~uintptr_t{4095});
}

TEST_CASE(
    "freed memory is given to the next tensor that fits, and little more is held than was in use at once") {
  keep_cpu_memory();
  keep_cpu_memory();
  forget_kept_memory();
  const int64_t before = kept_cpu_memory();
  CHECK(before == 0);
  const void* place = nullptr;
  {
    const at::Tensor a = mebibytes(64);
    place = pages_of(a);
    a.fill_(1);
  }
  CHECK(kept_cpu_memory() > before);
  CHECK(pages_of(mebibytes(64)) == place);
  CHECK(pages_of(mebibytes(60)) == place);
  const int64_t fresh = fresh_cpu_blocks();
  {
    // Three in the place of one, and the place whole again afterwards.
    const at::Tensor a = mebibytes(40).fill_(1), b = mebibytes(10).fill_(2), c = mebibytes(12).fill_(3);
    for (const auto& [tensor, value] : {std::pair{a, 1}, {b, 2}, {c, 3}}) {
      CHECK(tensor.min().item<int>() == value);
      CHECK(tensor.max().item<int>() == value);
    }
  }
  CHECK(pages_of(mebibytes(64)) == place);
  CHECK(fresh_cpu_blocks() == fresh);
  CHECK(kept_cpu_memory() <= 81 * kMiB);
  {
    const at::Tensor big = mebibytes(100);  // the new most
    CHECK(kept_cpu_memory() <= 26 * kMiB);
  }
  std::vector<at::Tensor> many;
  for (int i = 0; i < 10; ++i)
    many.push_back(mebibytes(10));
  CHECK(kept_cpu_memory() <= 26 * kMiB);
  many.clear();
  CHECK(kept_cpu_memory() <= 127 * kMiB);
  CHECK(at::equal(at::ones({4 * kMiB}).add_(1), at::full({4 * kMiB}, 2.0f)));
}

TEST_CASE("fresh blocks lie one behind the other, so that what is free joins") {
  keep_cpu_memory();
  forget_kept_memory();
  const auto end_of = [](const at::Tensor& tensor) {
    return static_cast<char*>(pages_of(tensor)) + tensor.nbytes() + 4096;  // room to begin anywhere in a page
  };
  const int64_t fresh = fresh_cpu_blocks();
  at::Tensor a = mebibytes(5), b = mebibytes(7);
  CHECK(pages_of(b) == end_of(a));
  CHECK_THROWS_AS(at::empty({int64_t{1} << 50}, at::kByte), c10::Error);
  at::Tensor c = mebibytes(3);
  CHECK(pages_of(c) == end_of(b));
  const void* place = pages_of(a);
  a.reset();
  c.reset();
  b.reset();
  CHECK(pages_of(mebibytes(15)) == place);
  CHECK(fresh_cpu_blocks() == fresh + 3);
}

/// Bytes of this process that the system may take: -1 where it does not say.
int64_t offered_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string word; file >> word;) {
    int64_t kibibytes = 0;
    if (word == "LazyFree:" && file >> kibibytes) return kibibytes * 1024;
  }
  return -1;
}

TEST_CASE("what is soon wanted again is not offered to the system, what nobody wants for long is") {
  keep_cpu_memory();
  forget_kept_memory();
  if (offered_bytes() < 0) return;
  const at::Tensor most = mebibytes(200);  // of which a quarter is kept
  at::Tensor large = mebibytes(40).fill_(1);
  const at::Tensor between = mebibytes(3);  // so that the two are not joined
  at::Tensor small = mebibytes(2).fill_(1);
  large.reset();
  small.reset();
  CHECK(offered_bytes() < 8 * kMiB);
  for (int i = 0; i < 70; ++i)
    mebibytes(2).fill_(1);
  CHECK(offered_bytes() > 32 * kMiB);
  CHECK((mebibytes(40).fill_(3) == 3).all().item<bool>());
}

TEST_CASE("threads share what is kept") {
  keep_cpu_memory();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 200; ++i) {
        const at::Tensor mine = at::full({(1 + i % 5) * kMiB / 4 + 1000}, static_cast<float>(t * 1000 + i));
        std::this_thread::yield();
        if (!(mine == static_cast<float>(t * 1000 + i)).all().item<bool>()) ++wrong;
      }
    });
  for (std::thread& thread : threads)
    thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("memory that is not there is an error that can be caught") {
  keep_cpu_memory();
  CHECK_THROWS_AS(at::empty({int64_t{1} << 50}, at::kByte), c10::Error);
  CHECK_NOTHROW(mebibytes(2));
  forget_kept_memory();
  CHECK_THROWS_AS(at::empty({int64_t{1} << 50}, at::kByte), c10::Error);
  for (int i = 1; i < 20; ++i)
    mebibytes(2 * i);  // the one that failed was not the most that was in use
  CHECK(kept_cpu_memory() <= 50 * kMiB);
}

}  // namespace
}  // namespace rushes
