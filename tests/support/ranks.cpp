#include "support/ranks.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <exception>
#include <thread>
#include <vector>

namespace rushes::test {

void run_ranks(int count, const std::function<void(const Comm& world)>& body,
               const std::shared_ptr<CommWatch>& watch) {
  std::vector<std::unique_ptr<Transport>> transports = make_local_transports(count, watch);
  std::vector<std::exception_ptr> thrown(static_cast<size_t>(count)), late(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < transports.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        at::set_num_threads(1);
        const c10::InferenceMode no_autograd;
        const Comm world(std::move(transports[rank]), "world");
        body(world);
      } catch (const CommTimeout&) {
        late[rank] = std::current_exception();
      } catch (...) {
        thrown[rank] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  // What went wrong on one rank before who waited for it.
  for (const auto& errors : {thrown, late}) {
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  }
}

}  // namespace rushes::test
