#include "dist/nccl/nccl_transport.h"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/timer.h"
#include "dist/world.h"

namespace rushes {
namespace {

void must(ncclResult_t result, const char* what) {
  if (result == ncclSuccess) return;
  throw InternalError(str(what, ": ", ncclGetErrorString(result), " (NCCL_DEBUG=INFO says more)"));
}

void must(cudaError_t result, const char* what) {
  if (result != cudaSuccess) throw InternalError(str(what, ": ", cudaGetErrorString(result)));
}

/// A mark in a stream's queue.
class Mark {
 public:
  Mark() { must(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate"); }
  ~Mark() { cudaEventDestroy(event_); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

  void set(cudaStream_t stream) { must(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  void hold_back(cudaStream_t stream) const {
    must(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
  }
  bool passed() const { return cudaEventQuery(event_) != cudaErrorNotReady; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Ends the process where an exchange does not end: the host may be asleep in a synchronisation behind it.
class Watchdog {
 public:
  explicit Watchdog(std::shared_ptr<CommWatch> watch)
      : watch_(std::move(watch)), thread_([this] { run(); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void look_after(std::shared_ptr<Mark> done, std::string what) {
    const std::lock_guard lock(mutex_);
    exchanges_.push_back({std::move(done), std::move(what) + ", stage '" + watch_->stage + "'", Timer()});
  }

 private:
  struct Exchange {
    std::shared_ptr<Mark> done;
    std::string what;
    Timer timer;
  };
  void run() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(200), [&] { return ended_; })) {
      exchanges_.remove_if([](const Exchange& exchange) { return exchange.done->passed(); });
      const double limit = watch_->timeout_seconds;
      if (exchanges_.empty() || exchanges_.front().timer.seconds() < limit) continue;
      std::fprintf(stderr, "error: %s: no answer for %g s; run the same command again to continue\n",
                   exchanges_.front().what.c_str(), limit);
      std::_Exit(kExitStopped);
    }
  }

  std::shared_ptr<CommWatch> watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::list<Exchange> exchanges_;  // oldest first
  std::thread thread_;
};

class NcclPending : public Pending {
 public:
  NcclPending(std::shared_ptr<Mark> done, std::vector<Piece> pieces, at::Device device)
      : done_(std::move(done)), pieces_(std::move(pieces)), device_(device) {}
  ~NcclPending() override {
    // Nobody waited: memory must not be given to others before the exchange has passed.
    if (!pieces_.empty()) done_->hold_back(c10::cuda::getCurrentCUDAStream(device_.index()).stream());
  }
  void wait() override {
    done_->hold_back(c10::cuda::getCurrentCUDAStream(device_.index()).stream());
    pieces_.clear();
  }

 private:
  std::shared_ptr<Mark> done_;
  std::vector<Piece> pieces_;
  at::Device device_;
};

class NcclTransport : public Transport {
 public:
  NcclTransport(const Comm& host, at::Device device, std::shared_ptr<Watchdog> watchdog)
      : Transport(host.rank(), host.size()),
        host_(host),
        device_(device),
        watchdog_(std::move(watchdog)),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {
    const c10::cuda::CUDAGuard guard(device);
    ncclUniqueId id;
    if (host.rank() == 0) must(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::string words = host.broadcast(std::string(id.internal, sizeof id.internal), 0);
    std::memcpy(id.internal, words.data(), sizeof id.internal);
    must(ncclCommInitRank(&comm_, host.size(), id, host.rank()), "ncclCommInitRank");
  }
  ~NcclTransport() override { ncclCommDestroy(comm_); }

  std::unique_ptr<Pending> exchange(std::vector<Piece> sends, std::vector<Piece> receives,
                                    const std::string& what, Patience) override {
    const c10::cuda::CUDAGuard guard(device_);
    const cudaStream_t stream = stream_.stream();
    Mark ready;
    ready.set(c10::cuda::getCurrentCUDAStream(device_.index()).stream());
    ready.hold_back(stream);
    must(ncclGroupStart(), "ncclGroupStart");
    for (const Piece& piece : sends) {
      check(piece);
      must(ncclSend(piece.data.const_data_ptr(), piece.data.nbytes(), ncclInt8, piece.peer, comm_, stream),
           "ncclSend");
      count(static_cast<int64_t>(piece.data.nbytes()));
    }
    for (const Piece& piece : receives) {
      check(piece);
      must(ncclRecv(piece.data.mutable_data_ptr(), piece.data.nbytes(), ncclInt8, piece.peer, comm_, stream),
           "ncclRecv");
    }
    must(ncclGroupEnd(), "ncclGroupEnd");
    const auto done = std::make_shared<Mark>();
    done->set(stream);
    watchdog_->look_after(done, str(member(rank()), ", ", what));
    receives.insert(receives.end(), sends.begin(), sends.end());
    return std::make_unique<NcclPending>(done, std::move(receives), device_);
  }
  std::unique_ptr<Transport> subgroup(const std::vector<int>& members, int tag) override {
    return std::make_unique<NcclTransport>(host_.subgroup(members, tag, "nccl"), device_, watchdog_);
  }
  std::string name() const override { return "nccl"; }
  std::string member(int rank) const override { return host_.member(rank); }

 private:
  void check(const Piece& piece) const {
    RUSHES_CHECK(piece.data.device() == device_ && piece.data.is_contiguous(), "a piece on ",
                 piece.data.device(), ", this rank's GPU is ", device_);
  }

  Comm host_;
  at::Device device_;
  std::shared_ptr<Watchdog> watchdog_;
  c10::cuda::CUDAStream stream_;
  ncclComm_t comm_ = nullptr;
};

}  // namespace

std::unique_ptr<Transport> make_nccl_transport(const Comm& host, at::Device device,
                                               std::shared_ptr<CommWatch> watch) {
  return std::make_unique<NcclTransport>(host, device, std::make_shared<Watchdog>(std::move(watch)));
}

}  // namespace rushes
