#include "dist/mpi/mpi_transport.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "base/timer.h"
#include "dist/mpi/mpi_call.h"

namespace rushes {
namespace {

constexpr int64_t kMostBytes = int64_t{1} << 30;  // a message: MPI counts in int
constexpr int kTag = 7;

/// Who sits where, and how long to wait; shared by a world's groups.
struct MpiFacts {
  std::vector<std::string> hosts;  // by rank of the world
  std::shared_ptr<CommWatch> watch;
};

struct Message {
  MPI_Request request = MPI_REQUEST_NULL;
  int peer = 0;
};

/// Passes the time until the next look: first by giving the core to whoever wants it, then asleep.
class Waiting {
 public:
  void pass() {
    if (++looks_ < 2000) {
      ::sched_yield();
      return;
    }
    std::this_thread::sleep_for(nap_);
    if (looks_ > 4000) nap_ = std::min(nap_ * 2, std::chrono::microseconds{5000});
  }

 private:
  int looks_ = 0;
  std::chrono::microseconds nap_{50};
};

class MpiPending;

class MpiTransport : public Transport {
 public:
  MpiTransport(MPI_Comm comm, std::vector<int> world_ranks, std::shared_ptr<const MpiFacts> facts, int rank)
      : Transport(rank, static_cast<int>(world_ranks.size())),
        comm_(comm),
        world_ranks_(std::move(world_ranks)),
        facts_(std::move(facts)) {}
  ~MpiTransport() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0 && comm_ != MPI_COMM_NULL) MPI_Comm_free(&comm_);
  }

  std::unique_ptr<Pending> exchange(std::vector<Piece> sends, std::vector<Piece> receives,
                                    const std::string& what, Patience patience) override;
  std::unique_ptr<Transport> subgroup(const std::vector<int>& members, int tag) override;
  std::string name() const override { return "mpi"; }
  std::string member(int rank) const override {
    const int world = world_ranks_[static_cast<size_t>(rank)];
    return str("rank ", world, " (", facts_->hosts[static_cast<size_t>(world)], ")");
  }
  const CommWatch& watch() const { return *facts_->watch; }

 private:
  template <class Call>
  void each_message(const Piece& piece, std::vector<Message>& messages, const Call& call) const;

  MPI_Comm comm_;
  std::vector<int> world_ranks_;  // of the members
  std::shared_ptr<const MpiFacts> facts_;
};

/// Where a piece on a GPU is received in host memory, and where it belongs.
struct Landing {
  at::Tensor host, device;
};

class MpiPending : public Pending {
 public:
  MpiPending(const MpiTransport& transport, std::vector<Message> messages, std::vector<Piece> pieces,
             std::vector<Landing> landings, std::string what, Patience patience)
      : transport_(transport),
        messages_(std::move(messages)),
        pieces_(std::move(pieces)),
        landings_(std::move(landings)),
        what_(std::move(what)),
        patience_(patience) {}
  ~MpiPending() override {
    // Only after an error: the library may still write into these tensors, which therefore stay.
    if (!messages_.empty()) new std::vector<Piece>(std::move(pieces_));
  }
  void wait() override {
    const Timer timer;
    Waiting waiting;
    while (true) {
      std::erase_if(messages_, [](Message& message) {
        int done = 0;
        must(MPI_Test(&message.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
        return done != 0;
      });
      if (messages_.empty()) break;
      const double limit = transport_.watch().timeout_seconds;
      if (patience_ == Patience::watched && timer.seconds() > limit) throw_late(limit);
      waiting.pass();
    }
    for (const Landing& landing : landings_)
      landing.device.copy_(landing.host);
  }

 private:
  [[noreturn]] void throw_late(double limit) const {
    std::vector<std::string> late;
    for (const Message& message : messages_) {
      const std::string name = transport_.member(message.peer);
      if (std::find(late.begin(), late.end(), name) == late.end()) late.push_back(name);
    }
    throw CommTimeout(str(transport_.member(transport_.rank()), " waited ", limit, " s for ",
                          join(late, ", "), " in ", what_, ", stage '", transport_.watch().stage, "'"));
  }

  const MpiTransport& transport_;
  std::vector<Message> messages_;
  std::vector<Piece> pieces_;  // keeps their memory
  std::vector<Landing> landings_;
  std::string what_;
  Patience patience_;
};

template <class Call>
void MpiTransport::each_message(const Piece& piece, std::vector<Message>& messages, const Call& call) const {
  RUSHES_CHECK(piece.data.is_cpu() && piece.data.is_contiguous(), "a piece on ", piece.data.device());
  auto* data = static_cast<std::byte*>(piece.data.data_ptr());
  const auto bytes = static_cast<int64_t>(piece.data.nbytes());
  for (int64_t at = 0; at < bytes; at += kMostBytes) {
    Message message{MPI_REQUEST_NULL, piece.peer};
    call(data + at, static_cast<int>(std::min(kMostBytes, bytes - at)), &message.request);
    messages.push_back(message);
  }
}

std::unique_ptr<Pending> MpiTransport::exchange(std::vector<Piece> sends, std::vector<Piece> receives,
                                                const std::string& what, Patience patience) {
  std::vector<Message> messages;
  std::vector<Landing> landings;
  for (Piece& piece : receives) {
    if (piece.data.is_cpu()) continue;
    landings.push_back({at::empty(piece.data.sizes(), piece.data.options().device(at::kCPU)), piece.data});
    piece.data = landings.back().host;
  }
  for (Piece& piece : sends)
    piece.data = piece.data.cpu();
  for (const Piece& piece : receives) {
    each_message(piece, messages, [&](std::byte* data, int bytes, MPI_Request* request) {
      must(MPI_Irecv(data, bytes, MPI_BYTE, piece.peer, kTag, comm_, request), "MPI_Irecv");
    });
  }
  for (const Piece& piece : sends) {
    each_message(piece, messages, [&](std::byte* data, int bytes, MPI_Request* request) {
      must(MPI_Isend(data, bytes, MPI_BYTE, piece.peer, kTag, comm_, request), "MPI_Isend");
      count(bytes);
    });
  }
  receives.insert(receives.end(), sends.begin(), sends.end());
  return std::make_unique<MpiPending>(*this, std::move(messages), std::move(receives), std::move(landings),
                                      what, patience);
}

std::unique_ptr<Transport> MpiTransport::subgroup(const std::vector<int>& members, int tag) {
  MPI_Group all = MPI_GROUP_NULL, some = MPI_GROUP_NULL;
  must(MPI_Comm_group(comm_, &all), "MPI_Comm_group");
  must(MPI_Group_incl(all, static_cast<int>(members.size()), members.data(), &some), "MPI_Group_incl");
  MPI_Comm comm = MPI_COMM_NULL;
  must(MPI_Comm_create_group(comm_, some, tag, &comm), "MPI_Comm_create_group");
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  MPI_Group_free(&all);
  MPI_Group_free(&some);
  std::vector<int> world_ranks;
  for (const int member : members)
    world_ranks.push_back(world_ranks_[static_cast<size_t>(member)]);
  const auto found = std::find(members.begin(), members.end(), rank());
  RUSHES_CHECK(found != members.end(), "rank ", rank(), " asks for a group of others");
  return std::make_unique<MpiTransport>(comm, std::move(world_ranks), facts_,
                                        static_cast<int>(found - members.begin()));
}

/// The host of every rank.
std::vector<std::string> all_hosts(MPI_Comm comm, int size) {
  constexpr int kBytes = MPI_MAX_PROCESSOR_NAME;
  std::array<char, kBytes> mine{};
  int length = 0;
  must(MPI_Get_processor_name(mine.data(), &length), "MPI_Get_processor_name");
  std::vector<char> all(static_cast<size_t>(kBytes * size));
  must(MPI_Allgather(mine.data(), kBytes, MPI_CHAR, all.data(), kBytes, MPI_CHAR, comm), "MPI_Allgather");
  std::vector<std::string> hosts;
  for (int rank = 0; rank < size; ++rank)
    hosts.emplace_back(all.data() + static_cast<ptrdiff_t>(rank) * kBytes);
  return hosts;
}

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(std::shared_ptr<CommWatch> watch) {
  MPI_Comm comm = MPI_COMM_NULL;
  must(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  int rank = 0, size = 1;
  must(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  must(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  std::vector<int> ranks(static_cast<size_t>(size));
  for (int r = 0; r < size; ++r)
    ranks[static_cast<size_t>(r)] = r;
  auto facts = std::make_shared<MpiFacts>(MpiFacts{all_hosts(comm, size), std::move(watch)});
  return std::make_unique<MpiTransport>(comm, std::move(ranks), std::move(facts), rank);
}

}  // namespace rushes
