#include "dist/world.h"

#include <catch2/catch.hpp>

using namespace rushes;

TEST_CASE("the worst exit code wins: 1, 2, 75, 4, 3, 0") {
  const int order[] = {kExitDone, kExitRegressed, kExitFailedItems, kExitStopped, kExitUsage, kExitBug};
  for (int low = 0; low < 6; ++low) {
    for (int high = low; high < 6; ++high) {
      CHECK(worse_exit_code(order[low], order[high]) == order[high]);
      CHECK(worse_exit_code(order[high], order[low]) == order[high]);
    }
  }
  CHECK(worse_exit_code(0, 139) == kExitBug);
  CHECK(worse_exit_code(75, -1) == kExitBug);
}

TEST_CASE("tasks on a node are read from Slurm's short form") {
  CHECK(tasks_on_node("2(x3),1", 0) == 2);
  CHECK(tasks_on_node("2(x3),1", 2) == 2);
  CHECK(tasks_on_node("2(x3),1", 3) == 1);
  CHECK(tasks_on_node("2(x3),16", -1) == 16);
  CHECK(tasks_on_node("2(x3),16", 9) == 16);
  CHECK(tasks_on_node("4", 0) == 4);
  CHECK(tasks_on_node("", 0) == 1);
  CHECK(tasks_on_node("x(x", 0) == 1);
  CHECK(tasks_on_node("99999999999(x2)", 0) == 1);
}

TEST_CASE("a lone process is a world of one") {
  const auto world = make_single_world();
  CHECK(world->rank() == 0);
  CHECK(world->size() == 1);
  CHECK(world->place().cores >= 1);
  CHECK(!world->place().host.empty());
  CHECK(world->agree(75) == 75);
  CHECK(world->agree(0) == 0);
  CHECK(world->broadcast("text") == "text");
}
