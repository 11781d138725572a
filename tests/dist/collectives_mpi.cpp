// mpirun -n N collectives_mpi: the collectives between processes; a rank that does not answer; rank 0 says
// what went wrong.
#include <cstdio>

#include "dist/groups.h"
#include "dist/mpi/mpi_world.h"
#include "support/collectives.h"

using namespace rushes;

namespace {

std::string check_timeout(const Comm& all, CommWatch& watch) {
  watch.timeout_seconds = 0.3;
  watch.stage = "decoding";
  std::string said;
  // The last rank sends nothing while the others expect something of it.
  if (all.rank() + 1 < all.size()) {
    try {
      all.start_send_receive({at::ones({1})}, all.size() - 1, {{1}}, all.size() - 1).wait();
      said = "no timeout";
    } catch (const CommTimeout& late) {
      const std::string text = late.what();
      for (const char* word : {"waited 0.3 s for rank ", "send_receive of group world", "decoding"})
        if (text.find(word) == std::string::npos) said = "the timeout says: " + text;
    }
  }
  watch.timeout_seconds = 60;
  return said;
}

}  // namespace

int main() {
  const std::unique_ptr<World> world = make_world();
  const auto watch = std::make_shared<CommWatch>(CommWatch{60, "a test"});
  std::string wrong;
  {
    const Comm all = world->comm(watch);
    wrong = test::check_collectives(all);
    if (wrong.empty() && all.size() > 2) {
      const bool odd = all.rank() % 2 == 1;
      std::vector<int> members;
      for (int r = all.size() - 1; r >= 0; --r)
        if ((r % 2 == 1) == odd) members.push_back(r);
      const Comm half = all.subgroup(members, 1, "half");
      wrong = test::check_collectives(half);
    }
    if (wrong.empty() && all.size() > 1) {
      // A message larger than MPI's eager limit, and one of no byte.
      at::Tensor large = at::full({3'000'000}, all.rank());
      all.broadcast_(large, all.size() - 1);
      if (!(large == all.size() - 1).all().item<bool>()) wrong = "a large broadcast";
    }
    if (wrong.empty())
      wrong = check_timeout(all.subgroup(
                                [&] {
                                  std::vector<int> everyone;
                                  for (int r = 0; r < all.size(); ++r)
                                    everyone.push_back(r);
                                  return everyone;
                                }(),
                                2, "world"),
                            *watch);
    if (!wrong.empty()) std::fprintf(stderr, "rank %d: %s\n", all.rank(), wrong.c_str());
  }
  return world->agree(wrong.empty() ? kExitDone : kExitBug);
}
