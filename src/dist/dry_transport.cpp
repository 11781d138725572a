#include <algorithm>

#include "base/error.h"
#include "dist/transport.h"

namespace rushes {
namespace {

class Done : public Pending {
 public:
  void wait() override {}
};

class DryTransport : public Transport {
 public:
  using Transport::Transport;

  std::unique_ptr<Pending> exchange(std::vector<Piece> sends, std::vector<Piece>, const std::string&,
                                    Patience) override {
    for (const Piece& piece : sends)
      count(static_cast<int64_t>(piece.data.nbytes()));
    return std::make_unique<Done>();
  }
  std::unique_ptr<Transport> subgroup(const std::vector<int>& members, int) override {
    const auto found = std::find(members.begin(), members.end(), rank());
    RUSHES_CHECK(found != members.end(), "rank ", rank(), " asks for a group of others");
    return make_dry_transport(static_cast<int>(found - members.begin()), static_cast<int>(members.size()));
  }
  std::string name() const override { return "dry_run"; }
  std::string member(int rank) const override { return str("rank ", rank); }
};

}  // namespace

std::unique_ptr<Transport> make_dry_transport(int rank, int size) {
  return std::make_unique<DryTransport>(rank, size);
}

}  // namespace rushes
