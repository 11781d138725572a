#include "dist/traffic.h"

#include <catch2/catch.hpp>

#include "dist/comm.h"

using namespace rushes;

namespace {

Comm dry(int rank, int size) {
  return {make_dry_transport(rank, size), "dry"};
}

}  // namespace

TEST_CASE("traffic: what the collectives hand over is what the formulas say, for every rank") {
  for (const int size : {1, 2, 3, 5}) {
    for (int rank = 0; rank < size; ++rank) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const int64_t element = dtype == at::kFloat ? 4 : 2;
        for (const int64_t numbers : {int64_t{1}, kSmallSum, kSmallSum + 1, int64_t{10007}}) {
          const Comm comm = dry(rank, size);
          at::Tensor x = at::zeros({numbers}, dtype);
          comm.all_reduce_(x);
          CHECK(comm.traffic().bytes_sent == all_reduce_bytes(numbers, element, size, rank));
        }
        const Comm comm = dry(rank, size);
        const std::vector<int64_t> sizes = even_sizes(17, size);
        const int64_t own = sizes[static_cast<size_t>(rank)];
        comm.all_gather(at::zeros({own, 3}, dtype), 0, sizes);
        CHECK(comm.traffic().bytes_sent == all_gather_bytes(own * 3 * element, size));
      }
    }
    const Comm root = dry(0, size);
    at::Tensor text = at::zeros({100});
    root.broadcast_(text, 0);
    CHECK(root.traffic().bytes_sent == broadcast_bytes(400, size));
  }
}

TEST_CASE("traffic: Ulysses trades tokens for heads, whatever divides") {
  for (const int size : {2, 3, 8}) {
    for (int rank = 0; rank < size; ++rank) {
      const Ulysses group{.tokens = 101, .heads = 12, .head_dim = 4, .element = 2, .ranks = size};
      const std::vector<int64_t> tokens = even_sizes(group.tokens, size),
                                 heads = even_sizes(group.heads, size);
      const auto me = static_cast<size_t>(rank);
      const Comm comm = dry(rank, size);
      std::vector<at::Tensor> out, back;
      std::vector<std::vector<int64_t>> in, home;
      for (size_t r = 0; r < tokens.size(); ++r) {
        out.push_back(at::zeros({tokens[me], 3, heads[r], 4}, at::kBFloat16));
        in.push_back({tokens[r], 3, heads[me], 4});
        back.push_back(at::zeros({tokens[r], heads[me], 4}, at::kBFloat16));
        home.push_back({tokens[me], heads[r], 4});
      }
      comm.all_to_all(out, in);
      comm.all_to_all(back, home);
      CHECK(comm.traffic().bytes_sent == ulysses_bytes(group, rank));
    }
  }
  // 4 tokens, 2 heads of 1 number on 2 ranks: 2 tokens x 1 head x 3 out, 2 x 1 back, of 4 bytes.
  CHECK(ulysses_bytes({.tokens = 4, .heads = 2, .head_dim = 1, .element = 4, .ranks = 2}, 0) == 32);
}

TEST_CASE("traffic: a ring sends the own keys and values to each of the others' turns") {
  const Comm comm = dry(1, 4);
  for (int hop = 0; hop < 3; ++hop) {
    const std::vector<at::Tensor> kv = {at::zeros({10, 2, 8}), at::zeros({10, 2, 8})};
    comm.start_send_receive(kv, 2, {{10, 2, 8}, {10, 2, 8}}, 0).wait();
  }
  CHECK(comm.traffic().bytes_sent == ring_bytes(10, 2, 8, 4, 4));
}

TEST_CASE("traffic: even runs are those of even_sizes") {
  for (int64_t total : {0, 1, 7, 12, 32760}) {
    for (int64_t ranks : {1, 2, 5, 8}) {
      const std::vector<int64_t> sizes = even_sizes(total, ranks);
      for (int64_t r = 0; r < ranks; ++r) {
        CHECK(even_size(total, ranks, r) == sizes[static_cast<size_t>(r)]);
        CHECK(even_start(total, ranks, r) == start_of(sizes, r));
      }
      CHECK(even_start(total, ranks, ranks) == total);
    }
  }
}
