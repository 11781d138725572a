// Comm over thread ranks and in a dry run. tests/dist runs the same collectives over MPI.
#include "dist/comm.h"

#include <catch2/catch.hpp>
#include <mutex>

#include "base/error.h"
#include "dist/groups.h"
#include "support/collectives.h"
#include "support/devices.h"
#include "support/ranks.h"

namespace rushes {
namespace {

using Catch::Contains;

void check_all_ranks(int count, at::Device device) {
  std::mutex mutex;
  std::vector<std::string> wrong;
  test::run_ranks(count, [&](const Comm& world) {
    const std::string what = test::check_collectives(world, device);
    const std::lock_guard lock(mutex);
    if (!what.empty()) wrong.push_back(str("rank ", world.rank(), ": ", what));
  });
  INFO(join(wrong, "\n"));
  CHECK(wrong.empty());
}

TEST_CASE("collectives over thread ranks") {
  for (const int count : {1, 2, 3, 5, 8}) {
    CAPTURE(count);
    check_all_ranks(count, at::kCPU);
  }
  CHECK(test::check_collectives(Comm()).empty());
}

TEST_CASE("collectives over thread ranks on one GPU", "[gpu]") {
  if (!test::has_gpu()) return;
  for (const int count : {2, 3}) {
    check_all_ranks(count, at::kCUDA);
  }
}

TEST_CASE("groups of ranks, in any order") {
  test::run_ranks(5, [](const Comm& world) {
    // 4 and 1 talk while 0, 2, 3 do.
    const bool pair = world.rank() == 1 || world.rank() == 4;
    const Comm group = world.subgroup(pair ? std::vector<int>{4, 1} : std::vector<int>{3, 0, 2}, 1, "some");
    RUSHES_CHECK(group.size() == (pair ? 2 : 3), group.size());
    const std::vector<int64_t> world_ranks = group.all_gather(int64_t{world.rank()});
    RUSHES_CHECK(world_ranks == (pair ? std::vector<int64_t>{4, 1} : std::vector<int64_t>{3, 0, 2}), "order");
    RUSHES_CHECK(test::check_collectives(group).empty(), test::check_collectives(group));
    RUSHES_CHECK(world.subgroup({world.rank()}, 2, "own").alone(), "a group of one");
  });
}

TEST_CASE("a rank that does not answer is named") {
  const auto watch = std::make_shared<CommWatch>(CommWatch{0.2, "denoising"});
  CHECK_THROWS_WITH(
      test::run_ranks(
          3,
          [](const Comm& world) {
            if (world.rank() == 2) return;
            const std::vector<int64_t> sizes{1, 1, 1};
            world.all_gather(at::ones({1}), 0, sizes);
          },
          watch),
      Contains("waited 0.2 s for rank 2") && Contains("all_gather of group world") && Contains("denoising"));
}

TEST_CASE("bytes are counted where they are sent") {
  std::mutex mutex;
  std::vector<int64_t> sent(4);
  test::run_ranks(4, [&](const Comm& world) {
    at::Tensor x = at::ones({8000});
    world.all_reduce_(x);
    world.all_gather(at::ones({10}), 0, {10, 10, 10, 10});
    const std::lock_guard lock(mutex);
    sent[static_cast<size_t>(world.rank())] = world.traffic().bytes_sent;
  });
  // A sum: 3/4 of the numbers out as parts, the own quarter of the sum to 3 others.
  for (const int64_t bytes : sent)
    CHECK(bytes == 4 * (6000 + 3 * 2000) + 4 * 30);
  for (int rank = 0; rank < 4; ++rank) {
    const Comm dry(make_dry_transport(rank, 4), "dry");
    at::Tensor x = at::ones({8000});
    dry.all_reduce_(x);
    dry.all_gather(at::ones({10}), 0, {10, 10, 10, 10});
    CHECK(dry.traffic().bytes_sent == sent[0]);
  }
}

TEST_CASE("halos: both neighbours at once, the ends have one") {
  for (int rank = 0; rank < 3; ++rank) {
    const Comm dry(make_dry_transport(rank, 4), "dry");
    dry.exchange_halos(at::ones({10}), at::ones({100}), 3);
    CHECK(dry.traffic().bytes_sent == (rank > 0 ? 40 : 0) + (rank < 2 ? 400 : 0));
    CHECK(dry.traffic().messages_sent == (rank == 1 ? 2 : 1));
  }
  const Comm beyond(make_dry_transport(3, 4), "dry");
  CHECK_THROWS_AS(beyond.exchange_halos(at::ones({10}), {}, 3), InternalError);
}

TEST_CASE("sizes that are as even as can be") {
  CHECK(even_sizes(10, 3) == std::vector<int64_t>{4, 3, 3});
  CHECK(even_sizes(2, 4) == std::vector<int64_t>{1, 1, 0, 0});
  CHECK(start_of(even_sizes(10, 3), 2) == 7);
}

}  // namespace
}  // namespace rushes
