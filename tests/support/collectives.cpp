#include "support/collectives.h"

#include <ATen/CPUGeneratorImpl.h>

#include "base/str.h"

namespace rushes::test {
namespace {

/// Rank r's tensor: every rank can make every other's.
at::Tensor of_rank(int rank, at::IntArrayRef shape, at::ScalarType dtype, at::Device device,
                   uint64_t salt = 0) {
  const at::Generator generator =
      at::detail::createCPUGenerator(1000 + 17 * static_cast<uint64_t>(rank) + salt);
  return at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat)).to(device, dtype);
}

at::Tensor sum_in_order(const std::vector<at::Tensor>& parts) {
  at::Tensor sum = parts[0].to(at::kFloat).clone();
  for (size_t r = 1; r < parts.size(); ++r)
    sum.add_(parts[r].to(at::kFloat));
  return sum.to(parts[0].scalar_type());
}

}  // namespace

std::string check_collectives(const Comm& comm, at::Device device) {
  const int n = comm.size(), me = comm.rank();
  const auto everyone = [&](const auto& make) {
    std::vector<at::Tensor> all;
    for (int r = 0; r < n; ++r)
      all.push_back(make(r));
    return all;
  };
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t size : {0, 1, 7, 5000, 70001}) {  // gathered whole, and in two halves
      at::Tensor x = of_rank(me, {size}, dtype, device);
      comm.all_reduce_(x);
      const auto parts = everyone([&](int r) { return of_rank(r, {size}, dtype, device); });
      if (!at::equal(x, sum_in_order(parts))) return str("all_reduce of ", size, " ", toString(dtype));
    }
  }
  for (const int64_t size : {0, 7, 5000}) {
    const auto parts = everyone([&](int r) { return of_rank(r, {size, 3}, at::kFloat, device); });
    const at::Tensor sum = comm.all_reduce(parts[static_cast<size_t>(me)], at::kBFloat16);
    if (!at::equal(sum, sum_in_order(parts).to(at::kBFloat16)))
      return str("all_reduce to bfloat16 of ", size);
  }
  {
    at::Tensor wide = of_rank(me, {6, 3000}, at::kFloat, device), view = wide.narrow(1, 1, 2500);
    comm.all_reduce_(view);
    const auto parts = everyone([&](int r) {
      return of_rank(r, {6, 3000}, at::kFloat, device).narrow(1, 1, 2500);
    });
    if (!at::equal(view, sum_in_order(parts))) return "all_reduce of a view";
    if (!at::equal(wide.narrow(1, 0, 1), of_rank(me, {6, 3000}, at::kFloat, device).narrow(1, 0, 1)))
      return "all_reduce of a view wrote beside it";
  }
  std::vector<int64_t> sizes;  // 3, 0, 5, 3, ...
  for (int r = 0; r < n; ++r)
    sizes.push_back(std::vector<int64_t>{3, 0, 5}[static_cast<size_t>(r % 3)]);
  for (const int64_t dim : {0, 1, -1}) {
    const auto shape = [&](int r) {
      std::vector<int64_t> result{2, 4, 3};
      result[static_cast<size_t>(dim < 0 ? dim + 3 : dim)] = sizes[static_cast<size_t>(r)];
      return result;
    };
    const auto all = everyone([&](int r) { return of_rank(r, shape(r), at::kFloat, device); });
    const at::Tensor whole = at::cat(all, dim);
    if (!at::equal(comm.all_gather(all[static_cast<size_t>(me)], dim, sizes), whole))
      return str("all_gather ", dim);
    const at::Tensor gathered = comm.gather(all[static_cast<size_t>(me)], dim, sizes, n - 1);
    if (me == n - 1 && !at::equal(gathered, whole)) return "gather";
    if (n > 1 && me != n - 1 && gathered.defined()) return "gather gave something to another rank";
    const auto full = everyone([&](int r) { return of_rank(r, whole.sizes(), at::kBFloat16, device); });
    const at::Tensor mine = comm.reduce_scatter(full[static_cast<size_t>(me)], dim, sizes);
    if (!at::equal(mine, sum_in_order(full).narrow(dim, start_of(sizes, me), sizes[static_cast<size_t>(me)])))
      return str("reduce_scatter ", dim);
  }
  for (int root = 0; root < n; ++root) {
    at::Tensor x = of_rank(me, {3, 5}, at::kFloat, device).t();
    comm.broadcast_(x, root);
    if (!at::equal(x, of_rank(root, {3, 5}, at::kFloat, device).t())) return str("broadcast from ", root);
    const std::string text =
        comm.broadcast(me == root ? std::string(static_cast<size_t>(root), 'x') : "?", root);
    if (text != std::string(static_cast<size_t>(root), 'x')) return "broadcast of a text";
  }
  {
    // Rank a sends rank b (a + 2 b) % 4 numbers; two of them at once.
    const auto count = [](int a, int b) { return int64_t{(a + 2 * b) % 4}; };
    const auto start = [&](uint64_t salt) {
      std::vector<at::Tensor> parts;
      std::vector<std::vector<int64_t>> shapes;
      for (int r = 0; r < n; ++r) {
        parts.push_back(of_rank(100 * me + r, {count(me, r), 2}, at::kFloat, device, salt));
        shapes.push_back({count(r, me), 2});
      }
      return comm.start_all_to_all(std::move(parts), shapes);
    };
    Comm::AllToAll first = start(0), second = start(1);
    for (const uint64_t salt : {1, 0}) {  // waited for in another order than begun
      const std::vector<at::Tensor> got = (salt == 0 ? first : second).wait();
      for (int r = 0; r < n; ++r) {
        if (!at::equal(got[static_cast<size_t>(r)],
                       of_rank(100 * r + me, {count(r, me), 2}, at::kFloat, device, salt)))
          return str("all_to_all from ", r);
      }
    }
  }
  {
    const int to = (me + 1) % n, from = (me + n - 1) % n;
    const auto message = [&](int r) { return of_rank(r, {r + 1, 3}, at::kFloat, device); };
    const std::vector<at::Tensor> got =
        comm.start_send_receive({message(me), message(me + n)}, to, {{from + 1, 3}, {from + n + 1, 3}}, from)
            .wait();
    if (!at::equal(got[0], message(from)) || !at::equal(got[1], message(from + n))) return "send_receive";
  }
  for (const int line : {1, n - 1, n}) {
    if (me >= line) continue;
    const auto up = [&](int r) { return of_rank(r, {3, 2}, at::kBFloat16, device, 1).t(); };
    const auto down = [&](int r) { return of_rank(r, {5}, at::kBFloat16, device, 2); };
    const Comm::Halos both = comm.exchange_halos(up(me), down(me), line);
    if (!at::equal(both.from_next, me + 1 < line ? up(me + 1) : at::zeros_like(up(me))) ||
        !at::equal(both.from_previous, me > 0 ? down(me - 1) : at::zeros_like(down(me))))
      return str("exchange_halos in a line of ", line);
    const Comm::Halos one = comm.exchange_halos(up(me), {}, line);
    if (one.from_previous.defined() || !at::equal(one.from_next, both.from_next))
      return str("exchange_halos one way in a line of ", line);
  }
  const std::vector<int64_t> numbers = comm.all_gather(int64_t{me} * me);
  for (int r = 0; r < n; ++r) {
    if (numbers[static_cast<size_t>(r)] != int64_t{r} * r) return "all_gather of a number";
  }
  comm.barrier();
  return "";
}

}  // namespace rushes::test
