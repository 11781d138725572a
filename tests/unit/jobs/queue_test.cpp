#include "jobs/queue.h"

#include <algorithm>
#include <set>

#include "run_support.h"

using namespace rushes;
using namespace rushes::test;

namespace {

std::vector<Item> items_of(size_t count) {
  std::vector<Item> items;
  for (size_t i = 0; i < count; ++i)
    items.push_back(item_of("item-" + std::to_string(i), 1, static_cast<double>((i * 7) % count)));
  return items;
}

/// A process that asks for items.
struct Asker {
  Asker(const OutputFolder& folder, const WorkOrder& order, const std::string& token)
      : owner(folder.owners(), status_of(token), 0),
        work(folder, token),
        watch(folder.owners()),
        claims(folder, work, token, watch),
        queue(order, folder, claims) {}
  Owner owner;
  WorkPlace work;
  OwnerWatch watch;
  Claims claims;
  Queue queue;
};

}  // namespace

TEST_CASE("ranks that walk together take every item once, longest first, and seldom the same") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  const std::vector<Item> items = items_of(1000);
  const std::vector<LedgerEntry> ledger(items.size());
  const WorkOrder order(items, ledger, "digest");
  std::vector<std::unique_ptr<Asker>> ranks;
  for (int rank = 0; rank < 10; ++rank)
    ranks.push_back(std::make_unique<Asker>(folder, order, "host.1." + std::to_string(rank)));
  std::vector<double> taken;
  size_t in_vain = 0;
  for (bool any = true; any;) {
    any = false;
    for (const auto& rank : ranks) {
      for (auto index = rank->queue.next(); index; index = rank->queue.next()) {
        const bool mine = rank->claims.take(items[*index].id);
        rank->queue.answered(mine);
        in_vain += mine ? 0 : 1;
        if (!mine) continue;
        taken.push_back(items[*index].flops);
        any = true;
        break;
      }
    }
  }
  REQUIRE(taken.size() == items.size());
  CHECK(std::is_sorted(taken.rbegin(), taken.rend()));
  CHECK(in_vain < 20);
}

TEST_CASE("the front is a hint: another job's, garbage or one too far loses nothing") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  const std::vector<Item> items = items_of(300);
  std::vector<LedgerEntry> ledger(items.size());
  ledger[7].state = ItemState::done;
  ledger[8].state = ItemState::failed;
  const WorkOrder order(items, ledger, "digest");
  const auto first = [&](Asker& asker) { return asker.queue.next(); };
  for (const std::string text :
       {"", "digest", "digest x", "other 200", "\xff\xff", "digest 18446744073709551615"}) {
    spill(folder.hidden() / "front", text);
    Asker asker(folder, order, "host.1.1");
    const bool end = text.size() > 20;
    CHECK(first(asker).has_value() == !end);
    CHECK(asker.queue.rest().size() == 298);
  }
  std::filesystem::remove(folder.hidden() / "front");
  std::filesystem::create_directory(folder.hidden() / "front");
  Asker asker(folder, order, "host.1.1");
  CHECK(first(asker) == order.item(0));
  asker.queue.answered(true);  // which cannot be written down
  CHECK(first(asker) == order.item(1));
}

TEST_CASE("a run begins at the first item that nobody has; deaths and the claimed wait for the end") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  const std::vector<Item> items = items_of(1000);
  std::vector<LedgerEntry> ledger(items.size());
  const WorkOrder order(items, ledger, "digest");
  ledger[order.item(1)].state = ItemState::done;
  ledger[order.item(9)].recorded = true;
  Asker asker(folder, order, "host.1.1"), other(folder, order, "host.1.2");
  REQUIRE(other.claims.take(items[order.item(0)].id));
  Front(folder, "digest").write(900);
  reset_front(folder, order, asker.claims);
  CHECK(Front(folder, "digest").read() == 2);
  spill(folder.deaths() / (items[order.item(2)].id + ".json"),
        R"({"count": 1, "crashes": 0, "how": "", "last_owner": "x", "stage": "", "step": 0})");
  CHECK(asker.queue.next() == order.item(3));
  // Records that came meanwhile settle their items, without being read; one that was there before does not.
  for (size_t place = 4; place < 990; ++place)
    spill(folder.record(items[order.item(place)].id), "{}");
  const std::vector<size_t> rest = asker.queue.rest();
  const std::set<size_t> found(rest.begin(), rest.end());
  CHECK(rest.size() == 10 + 4);
  for (const size_t place : {0, 2, 3, 9, 990, 999})
    CHECK(found.count(order.item(place)) == 1);
  CHECK(rest.back() == order.item(2));
  // They are looked at in shares, each once.
  std::set<size_t> doubted;
  for (const size_t share : {0, 1, 2}) {
    for (const size_t index : asker.queue.doubted(share, 3))
      CHECK(doubted.insert(index).second);
  }
  CHECK(doubted.size() == 1000 - 14 - 1);
  CHECK(doubted.count(order.item(4)) == 1);
  CHECK(asker.queue.doubted(0, 1).empty());
  CHECK(asker.queue.believe(order.item(4)));
  CHECK(!asker.queue.believe(order.item(9)));    // it had one before
  CHECK(!asker.queue.believe(order.item(999)));  // it has none
}
