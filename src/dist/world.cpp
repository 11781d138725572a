#include "dist/world.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/env.h"

namespace rushes {
namespace {

int allowed_cores() {
  constexpr int kMostCores = 8192;  // a plain cpu_set_t ends at 1024, and the call fails beyond
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(kMostCores),
                                                             [](cpu_set_t* s) { CPU_FREE(s); });
  const size_t bytes = CPU_ALLOC_SIZE(kMostCores);
  CPU_ZERO_S(bytes, set.get());
  if (sched_getaffinity(0, bytes, set.get()) != 0) return 1;
  return std::max(1, CPU_COUNT_S(bytes, set.get()));
}

int number_or(const std::string& text, int otherwise) {
  if (text.empty() || text.size() > 7 || text.find_first_not_of("0123456789") != std::string::npos) {
    return otherwise;
  }
  return std::atoi(text.c_str());
}

Place single_place() {
  Place place;
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  place.host = host;
  place.cores = allowed_cores();
  // Inside a job step each task is a world of its own, but it shares the node with its neighbours.
  const std::string tasks = env(EnvVar::slurm_step_tasks);
  if (tasks.empty()) return place;
  place.local_rank = number_or(env(EnvVar::slurm_localid), 0);
  place.local_size =
      std::max(tasks_on_node(tasks, number_or(env(EnvVar::slurm_nodeid), -1)), place.local_rank + 1);
  const bool bound = place.cores < sysconf(_SC_NPROCESSORS_ONLN);  // Slurm gave this task cores of its own
  if (!bound) place.cores = std::max(1, place.cores / place.local_size);
  return place;
}

class SingleWorld : public World {
 public:
  SingleWorld() : World(single_place()) {}
  int agree(int code) override { return worse_exit_code(code, kExitDone); }
  std::string broadcast(const std::string& text) override { return text; }
  Comm comm(std::shared_ptr<CommWatch>) override { return {}; }
  [[noreturn]] void abort(int code) override { ::_exit(code); }
};

}  // namespace

int worse_exit_code(int a, int b) {
  const auto weight = [](int code) {
    switch (code) {
      case kExitDone:
        return 0;
      case kExitRegressed:
        return 1;
      case kExitFailedItems:
        return 2;
      case kExitStopped:
        return 3;
      case kExitUsage:
        return 4;
      default:
        return 5;
    }
  };
  const int worse = weight(a) >= weight(b) ? a : b;
  return weight(worse) == 5 ? kExitBug : worse;
}

int tasks_on_node(const std::string& text, int node) {
  int largest = 0;
  int first = 0;  // node that the current part begins with
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    const size_t bracket = part.find("(x");
    const int tasks = number_or(part.substr(0, bracket), 0);
    int nodes = 1;
    if (bracket != std::string::npos && part.back() == ')') {
      nodes = number_or(part.substr(bracket + 2, part.size() - bracket - 3), 1);
    }
    if (node >= first && node < first + nodes) return std::max(1, tasks);
    first += nodes;
    largest = std::max(largest, tasks);
    at = end + 1;
  }
  return std::max(1, largest);
}

std::unique_ptr<World> make_single_world() {
  return std::make_unique<SingleWorld>();
}

}  // namespace rushes
