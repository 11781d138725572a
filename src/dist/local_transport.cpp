// Ranks that are threads of one process. A hub holds, for each pair of ranks, the pieces that were sent and
// not yet fetched, numbered in the order of sending; who is to receive one knows its number from the moment
// on at which he said so, however late he waits for it. The receiver copies out of the sender's memory.

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>

#include <ATen/detail/CUDAHooksInterface.h>

#include "base/error.h"
#include "base/timer.h"
#include "dist/transport.h"

namespace rushes {
namespace {

/// Thread ranks on one GPU have streams of their own: what was queued must be there before others read it.
void finish_queue(const at::Tensor& x) {
  if (x.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(x.device().index());
}

struct Offer {
  at::Tensor data;
  bool fetched = false;
};

class Hub {
 public:
  explicit Hub(int size, std::shared_ptr<CommWatch> watch) : size_(size), watch_(std::move(watch)) {}
  int size() const { return size_; }
  const CommWatch& watch() const { return *watch_; }
  const std::shared_ptr<CommWatch>& shared_watch() const { return watch_; }

  std::shared_ptr<Offer> offer(int from, int to, const at::Tensor& data) {
    auto offer = std::make_shared<Offer>();
    offer->data = data;
    const std::lock_guard lock(mutex_);
    Lane& lane = lanes_[{from, to}];
    lane.offers[lane.sent++] = offer;
    changed_.notify_all();
    return offer;
  }
  /// The number of what `to` receives next from `from`.
  int64_t ticket(int from, int to) {
    const std::lock_guard lock(mutex_);
    return lanes_[{from, to}].expected++;
  }
  /// Takes what `from` sent under this number. False: nothing came in time.
  bool fetch(int from, int to, int64_t ticket, const at::Tensor& into, double seconds) {
    std::shared_ptr<Offer> offer;
    {
      std::unique_lock lock(mutex_);
      auto& offers = lanes_[{from, to}].offers;
      if (!wait(lock, seconds, [&] { return offers.count(ticket) > 0; })) return false;
      offer = offers.extract(ticket).mapped();
    }
    RUSHES_CHECK(offer->data.nbytes() == into.nbytes(), "rank ", from, " sent ", offer->data.nbytes(),
                 " bytes, rank ", to, " expects ", into.nbytes());
    into.copy_(offer->data);
    finish_queue(into);
    const std::lock_guard lock(mutex_);
    offer->fetched = true;
    changed_.notify_all();
    return true;
  }
  bool wait_fetched(const Offer& offer, double seconds) {
    std::unique_lock lock(mutex_);
    return wait(lock, seconds, [&] { return offer.fetched; });
  }
  /// The hub of a group of these ranks: the same one for each member that asks.
  std::shared_ptr<Hub> group(const std::vector<int>& members, int tag) {
    const std::lock_guard lock(mutex_);
    auto& slot = groups_[{members, tag}];
    std::shared_ptr<Hub> hub = slot.hub.lock();
    if (!hub || slot.taken == members.size()) {
      hub = std::make_shared<Hub>(static_cast<int>(members.size()), watch_);
      slot = {hub, 0};
    }
    ++slot.taken;
    return hub;
  }

 private:
  template <class Condition>
  bool wait(std::unique_lock<std::mutex>& lock, double seconds, Condition condition) {
    if (seconds <= 0) {
      changed_.wait(lock, condition);
      return true;
    }
    return changed_.wait_for(lock, std::chrono::duration<double>(seconds), condition);
  }

  /// From one rank to another.
  struct Lane {
    int64_t sent = 0, expected = 0;
    std::map<int64_t, std::shared_ptr<Offer>> offers;
  };
  struct Group {
    std::weak_ptr<Hub> hub;
    size_t taken = 0;
  };
  int size_;
  std::shared_ptr<CommWatch> watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<int, int>, Lane> lanes_;
  std::map<std::pair<std::vector<int>, int>, Group> groups_;
};

class LocalPending : public Pending {
 public:
  LocalPending(std::shared_ptr<Hub> hub, int rank, std::vector<std::shared_ptr<Offer>> sent,
               std::vector<Piece> receives, std::string what, Patience patience)
      : hub_(std::move(hub)),
        rank_(rank),
        sent_(std::move(sent)),
        receives_(std::move(receives)),
        what_(std::move(what)),
        patience_(patience) {
    for (const Piece& piece : receives_)
      tickets_.push_back(hub_->ticket(piece.peer, rank_));
  }

  void wait() override {
    const Timer timer;
    const double limit = patience_ == Patience::endless ? 0 : hub_->watch().timeout_seconds;
    const auto left = [&] { return limit == 0 ? 0 : std::max(limit - timer.seconds(), 1e-3); };
    const auto late = [&](const std::string& whom) {
      throw CommTimeout(str("rank ", rank_, " of ", hub_->size(), " waited ", limit, " s for ", whom, " in ",
                            what_, ", stage '", hub_->watch().stage, "'"));
    };
    for (size_t i = 0; i < receives_.size(); ++i) {
      const Piece& piece = receives_[i];
      if (!hub_->fetch(piece.peer, rank_, tickets_[i], piece.data, left())) late(str("rank ", piece.peer));
    }
    for (const auto& offer : sent_) {
      if (!hub_->wait_fetched(*offer, left())) late("a rank that takes what it sent");
    }
  }

 private:
  std::shared_ptr<Hub> hub_;
  int rank_;
  std::vector<std::shared_ptr<Offer>> sent_;
  std::vector<Piece> receives_;
  std::vector<int64_t> tickets_;
  std::string what_;
  Patience patience_;
};

class LocalTransport : public Transport {
 public:
  LocalTransport(std::shared_ptr<Hub> hub, int rank) : Transport(rank, hub->size()), hub_(std::move(hub)) {}

  std::unique_ptr<Pending> exchange(std::vector<Piece> sends, std::vector<Piece> receives,
                                    const std::string& what, Patience patience) override {
    std::vector<std::shared_ptr<Offer>> offers;
    if (!sends.empty()) finish_queue(sends[0].data);
    for (const Piece& piece : sends) {
      offers.push_back(hub_->offer(rank(), piece.peer, piece.data));
      count(static_cast<int64_t>(piece.data.nbytes()));
    }
    return std::make_unique<LocalPending>(hub_, rank(), std::move(offers), std::move(receives), what,
                                          patience);
  }
  std::unique_ptr<Transport> subgroup(const std::vector<int>& members, int tag) override {
    const auto found = std::find(members.begin(), members.end(), rank());
    RUSHES_CHECK(found != members.end(), "rank ", rank(), " asks for a group of others");
    return std::make_unique<LocalTransport>(hub_->group(members, tag),
                                            static_cast<int>(found - members.begin()));
  }
  std::string name() const override { return "local"; }
  std::string member(int rank) const override { return str("thread rank ", rank); }

 private:
  std::shared_ptr<Hub> hub_;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> make_local_transports(int count, std::shared_ptr<CommWatch> watch) {
  const auto hub = std::make_shared<Hub>(count, std::move(watch));
  std::vector<std::unique_ptr<Transport>> transports;
  for (int rank = 0; rank < count; ++rank)
    transports.push_back(std::make_unique<LocalTransport>(hub, rank));
  return transports;
}

}  // namespace rushes
