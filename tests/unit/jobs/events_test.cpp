#include "jobs/events.h"

#include <set>

#include "run_support.h"

using namespace rushes;
using namespace rushes::test;

TEST_CASE("many processes append whole lines to one file") {
  const TemporaryFolder temporary;
  const auto path = temporary.path() / "events.jsonl";
  {
    std::vector<std::unique_ptr<Child>> children;
    for (int rank = 0; rank < 4; ++rank) {
      children.push_back(std::make_unique<Child>([&, rank] {
        const EventLog log(path, rank, "run");
        for (int i = 0; i < 100; ++i)
          log.add("item_done", {{"id", i}, {"text", std::string(3000, 'x')}});
        return 0;
      }));
    }
    for (auto& child : children)
      CHECK(child->wait() == 0);
  }
  std::set<std::pair<int, int>> seen;
  read_events(path, 0, [&](const nlohmann::json& event) {
    CHECK(event.at("event") == "item_done");
    CHECK(seconds_of(event.at("time").get<std::string>()) > 1.6e9);
    seen.emplace(event.at("rank").get<int>(), event.at("id").get<int>());
  });
  CHECK(seen.size() == 400);
}

TEST_CASE("half a line of a process that died spoils no other") {
  const TemporaryFolder temporary;
  const auto path = temporary.path() / "events.jsonl";
  spill(path, "{\"event\": \"half");
  const EventLog log(path, 0, "run");
  log.add("one", {{"bad", "\xff"}});
  log.add("two", nlohmann::json::object());
  std::vector<std::string> names;
  const uint64_t offset =
      read_events(path, 0, [&](const auto& event) { names.push_back(event.at("event")); });
  CHECK(names == (std::vector<std::string>{"one", "two"}));
  log.add("three", nlohmann::json::object());
  std::ofstream(path, std::ios::app) << "{\"event\": \"not finished";
  names.clear();
  const uint64_t next =
      read_events(path, offset, [&](const auto& event) { names.push_back(event.at("event")); });
  CHECK(names == std::vector<std::string>{"three"});
  CHECK(read_events(path, next, [](const auto&) { FAIL("a line that is still being written"); }) == next);
}

TEST_CASE("times go to text and back") {
  CHECK(seconds_of("1970-01-01T00:00:01.500Z") == Approx(1.5));
  CHECK(seconds_of("2026-11-21T09:30:00.000Z") == Approx(1795253400.0));
  CHECK(seconds_of("yesterday") == 0);
}
