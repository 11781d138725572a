#include "dist/mpi/mpi_world.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "base/env.h"
#include "base/log.h"
#include "dist/mpi/mpi_call.h"
#include "dist/mpi/mpi_transport.h"

namespace rushes {
namespace {

/// Waits for `request` asleep: MPI_Wait spins on a core that the clips need.
void wait_asleep(MPI_Request& request, const char* what) {
  std::chrono::microseconds nap{50};
  while (true) {
    int done = 0;
    must(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what);
    if (done) return;
    std::this_thread::sleep_for(nap);
    nap = std::min(nap * 2, std::chrono::microseconds{20000});
  }
}

constexpr int kMostCores = 4096;

/// The cores this process may use, each counted as 1 / (ranks on the node that may use it too).
int fair_share_of_cores(MPI_Comm node) {
  std::array<int, kMostCores> mine{};
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(kMostCores),
                                                             [](cpu_set_t* s) { CPU_FREE(s); });
  const size_t bytes = CPU_ALLOC_SIZE(kMostCores);
  CPU_ZERO_S(bytes, set.get());
  if (sched_getaffinity(0, bytes, set.get()) == 0) {
    for (int core = 0; core < kMostCores; ++core)
      mine[static_cast<size_t>(core)] = CPU_ISSET_S(core, bytes, set.get());
  }
  std::array<int, kMostCores> users{};
  must(MPI_Allreduce(mine.data(), users.data(), kMostCores, MPI_INT, MPI_SUM, node), "MPI_Allreduce");
  double share = 0;
  for (size_t core = 0; core < mine.size(); ++core) {
    if (mine[core] > 0) share += 1.0 / users[core];
  }
  return std::max(1, static_cast<int>(share + 1e-6));
}

/// Ends the process where MPI takes forever to start: a rank that dies while it starts leaves the others
/// waiting in MPI_Init or their first collective, and not every launcher notices (srun with PMIx does not).
class StartGuard {
 public:
  StartGuard() : thread_([this] { watch(); }) {}
  ~StartGuard() {
    {
      const std::lock_guard lock(mutex_);
      started_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  StartGuard(const StartGuard&) = delete;
  StartGuard& operator=(const StartGuard&) = delete;

 private:
  void watch() {
    const int asked = std::atoi(env(EnvVar::rank_timeout).c_str());
    const int seconds = asked > 0 ? std::min(asked, kLongestStart) : kLongestStart;
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, std::chrono::seconds(seconds), [this] { return started_; })) return;
    log_error("MPI has not started within ", seconds,
              " s: has another rank died while it started? Run the same ", "command again");
    ::_exit(kExitStopped);
  }

  static constexpr int kLongestStart = 300;  // seconds
  std::mutex mutex_;
  std::condition_variable wake_;
  bool started_ = false;
  std::thread thread_;
};

/// MPI from MPI_Init_thread to MPI_Finalize.
class MpiSession {
 public:
  MpiSession() {
    int provided = 0;
    must(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    // Errors come back as codes, so that they can be reported with the rank and what it was doing.
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_FUNNELED) fail("this MPI library cannot be used from a program with threads");
  }
  ~MpiSession() {
    if (std::uncaught_exceptions() == 0) MPI_Finalize();
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
};

Place mpi_place() {
  Place place;
  must(MPI_Comm_rank(MPI_COMM_WORLD, &place.rank), "MPI_Comm_rank");
  must(MPI_Comm_size(MPI_COMM_WORLD, &place.size), "MPI_Comm_size");
  MPI_Comm node = MPI_COMM_NULL;
  must(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, place.rank, MPI_INFO_NULL, &node),
       "MPI_Comm_split_type");
  must(MPI_Comm_rank(node, &place.local_rank), "MPI_Comm_rank");
  must(MPI_Comm_size(node, &place.local_size), "MPI_Comm_size");
  place.cores = fair_share_of_cores(node);
  // A node is named by the least rank on it.
  int first = place.rank;
  must(MPI_Allreduce(&place.rank, &first, 1, MPI_INT, MPI_MIN, node), "MPI_Allreduce");
  MPI_Comm_free(&node);
  place.nodes.resize(static_cast<size_t>(place.size));
  must(MPI_Allgather(&first, 1, MPI_INT, place.nodes.data(), 1, MPI_INT, MPI_COMM_WORLD), "MPI_Allgather");
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  place.host = host;
  return place;
}

class MpiWorld : private MpiSession, public World {
 public:
  MpiWorld() : World(mpi_place()) {}

  int agree(int code) override {
    // The worst code is the largest of these positions.
    static constexpr std::array<int, 6> order = {kExitDone,    kExitRegressed, kExitFailedItems,
                                                 kExitStopped, kExitUsage,     kExitBug};
    const auto* at = std::find(order.begin(), order.end(), worse_exit_code(code, kExitDone));
    const int mine = static_cast<int>(at - order.begin());
    int worst = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    must(MPI_Iallreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD, &request), "MPI_Iallreduce");
    wait_asleep(request, "MPI_Iallreduce");
    return order.at(static_cast<size_t>(worst));
  }

  std::string broadcast(const std::string& text) override {
    uint64_t length = text.size();
    MPI_Request request = MPI_REQUEST_NULL;
    must(MPI_Ibcast(&length, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD, &request), "MPI_Ibcast");
    wait_asleep(request, "MPI_Ibcast");
    std::string all = rank() == 0 ? text : std::string(length, '\0');
    constexpr uint64_t kPiece = uint64_t{1} << 30;  // MPI counts in int
    for (uint64_t at = 0; at < length; at += kPiece) {
      const int count = static_cast<int>(std::min(kPiece, length - at));
      must(MPI_Ibcast(all.data() + at, count, MPI_CHAR, 0, MPI_COMM_WORLD, &request), "MPI_Ibcast");
      wait_asleep(request, "MPI_Ibcast");
    }
    return all;
  }

  Comm comm(std::shared_ptr<CommWatch> watch) override {
    if (size() == 1) return {};
    return {make_mpi_transport(std::move(watch)), "world"};
  }

  [[noreturn]] void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    ::_exit(code);
  }
};

}  // namespace

bool started_by_mpi() {
  // PMI_RANK alone (srun --mpi=pmi2) does not help: Debian's Open MPI speaks only PMIx and would give up.
  return !env(EnvVar::ompi_world_size).empty() || !env(EnvVar::pmix_rank).empty();
}

std::unique_ptr<World> make_mpi_world() {
  const StartGuard guard;
  return std::make_unique<MpiWorld>();
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  return std::string(text, static_cast<size_t>(length));
}

std::unique_ptr<World> make_world() {
  return started_by_mpi() ? make_mpi_world() : make_single_world();
}

}  // namespace rushes
