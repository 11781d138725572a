#include "dist/comm.h"

#include <numeric>

#include "base/error.h"
#include "base/timer.h"

namespace rushes {
namespace {

std::vector<int64_t> with_extent(at::IntArrayRef shape, int64_t dim, int64_t extent) {
  std::vector<int64_t> result = shape.vec();
  result[static_cast<size_t>(dim)] = extent;
  return result;
}

int64_t wrapped(int64_t dim, const at::Tensor& x) {
  const int64_t result = dim < 0 ? dim + x.dim() : dim;
  RUSHES_CHECK(result >= 0 && result < x.dim(), "dim ", dim, " of ", x.sizes());
  return result;
}

/// An exchange whose waiting is counted.
class TimedPending : public Pending {
 public:
  TimedPending(std::unique_ptr<Pending> pending, std::shared_ptr<Transport> transport)
      : transport_(std::move(transport)), pending_(std::move(pending)) {}
  void wait() override {
    const Timer timer;
    pending_->wait();
    transport_->waited(timer.seconds());
  }

 private:
  std::shared_ptr<Transport> transport_;  // first, so that it outlives the exchange
  std::unique_ptr<Pending> pending_;
};

/// Moved as bytes, so that every dtype can be.
at::Tensor bytes_of(const at::Tensor& x) {
  return x.view({-1}).view(at::kByte);
}

}  // namespace

std::vector<int64_t> even_sizes(int64_t total, int64_t ranks) {
  RUSHES_CHECK(ranks > 0 && total >= 0, total, " over ", ranks);
  std::vector<int64_t> sizes(static_cast<size_t>(ranks), total / ranks);
  for (int64_t r = 0; r < total % ranks; ++r)
    ++sizes[static_cast<size_t>(r)];
  return sizes;
}

int64_t start_of(at::IntArrayRef sizes, int64_t rank) {
  return std::accumulate(sizes.begin(), sizes.begin() + rank, int64_t{0});
}

Comm::Comm(std::unique_ptr<Transport> transport, std::string name)
    : transport_(std::move(transport)), name_(std::move(name)) {}

std::string Comm::member(int rank) const {
  return transport_ ? transport_->member(rank) : str("rank ", rank);
}

Comm Comm::subgroup(const std::vector<int>& members, int tag, std::string name) const {
  if (members.size() == 1) {
    Comm lone;
    lone.name_ = std::move(name);
    return lone;
  }
  RUSHES_CHECK(transport_ != nullptr, "a group of ", members.size(), " out of one");
  return {transport_->subgroup(members, tag), std::move(name)};
}

std::unique_ptr<Pending> Comm::exchange(std::vector<Piece> sends, std::vector<Piece> receives,
                                        const char* what, Patience patience) const {
  for (std::vector<Piece>* pieces : {&sends, &receives}) {
    std::erase_if(*pieces, [](const Piece& piece) { return piece.data.numel() == 0; });
    for (Piece& piece : *pieces)
      piece.data = bytes_of(piece.data);
  }
  return std::make_unique<TimedPending>(
      transport_->exchange(std::move(sends), std::move(receives), str(what, " of group ", name_), patience),
      transport_);
}

// ---- sums

at::Tensor Comm::sum_of_parts(const std::vector<at::Tensor>& parts) const {
  at::Tensor sum = parts[0].clone();
  for (size_t r = 1; r < parts.size(); ++r)
    sum.add_(parts[r]);
  return sum;
}

void Comm::all_reduce_(at::Tensor& x) const {
  if (!alone()) x.copy_(all_reduce(x, x.scalar_type()));
}

at::Tensor Comm::all_reduce(const at::Tensor& x, at::ScalarType dtype) const {
  if (alone() || x.numel() == 0) return x.to(dtype);
  const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor flat = x.reshape({-1}).to(wide).contiguous();
  at::Tensor sum;
  if (flat.numel() <= kSmallSum) {
    const std::vector<int64_t> rows(static_cast<size_t>(size()), 1);
    const at::Tensor all = all_gather(flat.unsqueeze(0), 0, rows);
    sum = sum_of_parts(all.unbind(0)).to(dtype);
  } else {
    const std::vector<int64_t> sizes = even_sizes(flat.numel(), size());
    sum = all_gather(reduce_scatter(flat, 0, sizes).to(dtype), 0, sizes);
  }
  return sum.view(x.sizes());
}

at::Tensor Comm::reduce_scatter(const at::Tensor& x, int64_t dim, at::IntArrayRef sizes) const {
  if (alone()) return x;
  dim = wrapped(dim, x);
  const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t own = sizes[static_cast<size_t>(rank())];
  std::vector<at::Tensor> parts;
  std::vector<std::vector<int64_t>> shapes;
  for (int r = 0; r < size(); ++r) {
    parts.push_back(x.narrow(dim, start_of(sizes, r), sizes[static_cast<size_t>(r)]).to(wide).contiguous());
    shapes.push_back(with_extent(x.sizes(), dim, own));
  }
  return sum_of_parts(all_to_all(std::move(parts), shapes)).to(x.scalar_type());
}

// ---- the others

at::Tensor Comm::all_gather(const at::Tensor& x, int64_t dim, at::IntArrayRef sizes) const {
  if (alone()) return x;
  dim = wrapped(dim, x);
  RUSHES_CHECK(static_cast<int>(sizes.size()) == size() && x.size(dim) == sizes[static_cast<size_t>(rank())],
               "x ", x.sizes(), ", sizes ", sizes, ", rank ", rank());
  const at::Tensor own = x.contiguous();
  std::vector<at::Tensor> parts(static_cast<size_t>(size()));
  std::vector<Piece> sends, receives;
  for (int r = 0; r < size(); ++r) {
    at::Tensor& part = parts[static_cast<size_t>(r)];
    if (r == rank()) {
      part = own;
      continue;
    }
    part = at::empty(with_extent(x.sizes(), dim, sizes[static_cast<size_t>(r)]), x.options());
    sends.push_back({r, own});
    receives.push_back({r, part});
  }
  exchange(std::move(sends), std::move(receives), "all_gather")->wait();
  return at::cat(parts, dim);
}

at::Tensor Comm::gather(const at::Tensor& x, int64_t dim, at::IntArrayRef sizes, int root) const {
  if (alone()) return x;
  dim = wrapped(dim, x);
  const at::Tensor own = x.contiguous();
  if (rank() != root) {
    exchange({{root, own}}, {}, "gather")->wait();
    return {};
  }
  std::vector<at::Tensor> parts;
  std::vector<Piece> receives;
  for (int r = 0; r < size(); ++r) {
    parts.push_back(
        r == root ? own : at::empty(with_extent(x.sizes(), dim, sizes[static_cast<size_t>(r)]), x.options()));
    if (r != root) receives.push_back({r, parts.back()});
  }
  exchange({}, std::move(receives), "gather")->wait();
  return at::cat(parts, dim);
}

void Comm::broadcast_(at::Tensor& x, int root, Patience patience) const {
  if (alone() || x.numel() == 0) return;
  // Down a binary tree whose root is rank `root`: depth log2(n), and no rank sends more than log2(n) times.
  const int n = size(), place = (rank() - root + n) % n;
  const at::Tensor own = x.contiguous();
  int reach = 1;
  while (reach <= place)
    reach *= 2;
  if (place > 0) {
    const int from = (place - reach / 2 + root) % n;
    exchange({}, {{from, own}}, "broadcast", patience)->wait();
  }
  std::vector<Piece> sends;
  for (; place + reach < n; reach *= 2)
    sends.push_back({(place + reach + root) % n, own});
  if (!sends.empty()) exchange(std::move(sends), {}, "broadcast", patience)->wait();
  if (!own.is_same(x)) x.copy_(own);
}

std::string Comm::broadcast(const std::string& text, int root, Patience patience) const {
  if (alone()) return text;
  at::Tensor length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  broadcast_(length, root, patience);
  const int64_t bytes = length.item<int64_t>();
  at::Tensor data = at::empty({bytes}, at::kByte);
  if (rank() == root) std::copy(text.begin(), text.end(), data.mutable_data_ptr<uint8_t>());
  broadcast_(data, root, patience);
  const auto* begin = reinterpret_cast<const char*>(data.const_data_ptr<uint8_t>());
  return {begin, begin + bytes};
}

std::vector<int64_t> Comm::all_gather(int64_t number) const {
  const std::vector<int64_t> ones(static_cast<size_t>(size()), 1);
  const at::Tensor all = all_gather(at::full({1}, number, at::kLong), 0, ones);
  const int64_t* data = all.const_data_ptr<int64_t>();
  return {data, data + size()};
}

void Comm::barrier() const {
  all_gather(int64_t{0});
}

Comm::AllToAll Comm::start_all_to_all(std::vector<at::Tensor> parts,
                                      const std::vector<std::vector<int64_t>>& shapes) const {
  RUSHES_CHECK(static_cast<int>(parts.size()) == size() && parts.size() == shapes.size(), parts.size(),
               " parts, ", shapes.size(), " shapes, ", size(), " ranks");
  AllToAll result;
  std::vector<Piece> sends, receives;
  for (int r = 0; r < size(); ++r) {
    const auto index = static_cast<size_t>(r);
    result.sent_.push_back(parts[index].contiguous());
    if (r == rank()) {
      RUSHES_CHECK(parts[index].sizes() == at::IntArrayRef(shapes[index]), parts[index].sizes(), " and ",
                   at::IntArrayRef(shapes[index]));
      result.parts_.push_back(result.sent_.back());
      continue;
    }
    result.parts_.push_back(at::empty(shapes[index], parts[0].options()));
    sends.push_back({r, result.sent_.back()});
    receives.push_back({r, result.parts_.back()});
  }
  if (!alone()) result.pending_ = exchange(std::move(sends), std::move(receives), "all_to_all");
  return result;
}

std::vector<at::Tensor> Comm::AllToAll::wait() {
  if (pending_) pending_->wait();
  pending_.reset();
  sent_.clear();
  return std::move(parts_);
}

Comm::SendReceive Comm::start_send_receive(const std::vector<at::Tensor>& send, int to,
                                           const std::vector<std::vector<int64_t>>& shapes, int from) const {
  SendReceive result;
  if (to == rank()) {
    RUSHES_CHECK(from == rank(), "to ", to, ", from ", from);
    result.received_ = send;
    return result;
  }
  std::vector<Piece> sends, receives;
  for (const at::Tensor& x : send) {
    result.sent_.push_back(x.contiguous());
    sends.push_back({to, result.sent_.back()});
  }
  for (const std::vector<int64_t>& shape : shapes) {
    result.received_.push_back(at::empty(shape, send[0].options()));
    receives.push_back({from, result.received_.back()});
  }
  result.pending_ = exchange(std::move(sends), std::move(receives), "send_receive");
  return result;
}

std::vector<at::Tensor> Comm::SendReceive::wait() {
  if (pending_) pending_->wait();
  pending_.reset();
  sent_.clear();
  return std::move(received_);
}

Comm::Halos Comm::exchange_halos(const at::Tensor& to_previous, const at::Tensor& to_next, int line) const {
  const int me = rank();
  RUSHES_CHECK(me < line && line <= size(), "rank ", me, " in a line of ", line, " of ", size());
  std::vector<Piece> sends, receives;
  // One of the two directions: x leaves for `to` while `from` sends its own.
  const auto pass = [&](const at::Tensor& x, int to, int from) {
    if (!x.defined()) return at::Tensor();
    if (to >= 0 && to < line) sends.push_back({to, x.contiguous()});
    if (from < 0 || from >= line) return at::zeros(x.sizes(), x.options());
    at::Tensor received = at::empty(x.sizes(), x.options());
    receives.push_back({from, received});
    return received;
  };
  Halos halos;
  halos.from_next = pass(to_previous, me - 1, me + 1);
  halos.from_previous = pass(to_next, me + 1, me - 1);
  if (!sends.empty() || !receives.empty())
    exchange(std::move(sends), std::move(receives), "exchange_halos")->wait();
  return halos;
}

}  // namespace rushes
