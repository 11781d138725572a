#include "jobs/claims.h"

#include <sys/prctl.h>

#include <algorithm>
#include <thread>

#include "run_support.h"

using namespace rushes;
using namespace rushes::test;
namespace fs = std::filesystem;

namespace {

/// What a process of a run has: owner, work place, claims.
struct Party {
  explicit Party(const OutputFolder& folder, double patience = 30.0)
      : owner(folder.owners(), status_of(this_process().token()), 0.05),
        work(folder, owner.token()),
        watch(folder.owners(), patience),
        claims(folder, work, owner.token(), watch) {}
  Owner owner;
  WorkPlace work;
  OwnerWatch watch;
  Claims claims;
};

void wait_for(const std::function<bool()>& ready) {
  for (int i = 0; i < 6000 && !ready(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  REQUIRE(ready());
}

/// A process that claims `id`, says that it runs it, and lives on.
int claim_and_hang(const OutputFolder& folder, const std::string& id, const std::string& running,
                   int64_t step = 3) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Party party(folder);
  if (!party.claims.take(id)) return 1;
  party.owner.announce([&](OwnerStatus& status) {
    status.item = running;
    status.stage = "denoising";
    status.step = step;
    status.world = 2;
    status.first = status.token;
  });
  pause();
  return 0;
}

/// Waits until somebody has claimed the item and says what it runs.
void wait_until_running(const OutputFolder& folder, const Party& party, const std::string& id) {
  wait_for([&] { return party.claims.holder(id).has_value(); });
  wait_for([&] { return !read_json_object(folder.claims() / id).value("item", std::string()).empty(); });
}

/// A rank that helps `leader` (a token) with item `id`, and crashes.
void crash_while_helping(const OutputFolder& folder, const std::string& leader, const std::string& id) {
  Child helper([&] {
    Party party(folder);
    mark_crashes(party.owner.path());
    party.owner.announce([&](OwnerStatus& status) {
      status.rank = 1;
      status.world = 2;
      status.first = leader;
      status.helps = id;
    });
    raise(SIGSEGV);
    return 0;
  });
  helper.wait();
}

}  // namespace

TEST_CASE("tokens name one process and are read back") {
  const OwnerId self = this_process();
  CHECK(self.pid == getpid());
  CHECK(self.start > 0);
  CHECK(OwnerId::parse(self.token()) == self);
  for (const char* bad : {"", ".", "..", "a", "a.1", "a.b.c", "a.-1.5", "a.1.", ".1.2", "a/b.1.2", "a.1.2x",
                          "a.99999999999999999999.1"}) {
    CAPTURE(bad);
    CHECK(!OwnerId::parse(bad));
  }
}

TEST_CASE("a claim has one owner, and is free when given up") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  CHECK(!party.claims.holder("a"));
  CHECK(party.claims.take("a"));
  CHECK(!party.claims.take("a"));
  CHECK(party.claims.is_mine("a"));
  CHECK(!party.claims.free_if_dead("a"));
  CHECK(read_json_object(folder.claims() / "a").at("token") ==
        party.owner.token());  // the link shows the owner
  party.claims.release("a");
  CHECK(!party.claims.holder("a"));
}

TEST_CASE("a claim whose owner lives is never taken; one whose owner was killed is") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  Child owner([&] { return claim_and_hang(folder, "a", "a"); });
  wait_until_running(folder, party, "a");
  const std::string token = *party.claims.holder("a");
  CHECK(!party.claims.take("a"));
  CHECK(!party.claims.free_if_dead("a"));
  kill(owner.pid(), SIGSTOP);  // it stands still, but lives
  CHECK(!party.claims.free_if_dead("a"));
  CHECK(party.claims.sweep() == 0);
  CHECK(fs::exists(folder.work() / token));

  spill(folder.work() / token / "half.mp4", "half");
  owner.kill();
  CHECK(party.claims.free_if_dead("a"));
  CHECK(party.claims.take("a"));
  const Deaths deaths = party.claims.deaths("a");
  CHECK(deaths.count == 1);
  CHECK(deaths.last_owner == token);
  CHECK(deaths.stage == "denoising");
  CHECK(deaths.step == 3);
  CHECK(party.claims.sweep() == 1);
  CHECK(!fs::exists(folder.work() / token));
  CHECK(!fs::exists(folder.owners() / (token + ".json")));
  CHECK(fs::exists(folder.owners() / (party.owner.token() + ".json")));
  CHECK(party.claims.is_mine("a"));
}

TEST_CASE("a zombie is dead: nobody has reaped it, but it works no more") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  Child owner([&] { return claim_and_hang(folder, "a", "a"); });
  wait_for([&] { return party.claims.holder("a").has_value(); });
  kill(owner.pid(), SIGKILL);
  wait_for([&] { return party.claims.free_if_dead("a"); });  // not waited for: still in the process table
  CHECK(process_start(owner.pid()) == std::nullopt);
}

TEST_CASE("a clip that only waited to be written does not count its process's death") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  Child owner([&] { return claim_and_hang(folder, "a", "another"); });
  wait_until_running(folder, party, "a");
  owner.kill();
  CHECK(party.claims.free_if_dead("a"));
  CHECK(party.claims.deaths("a").count == 0);
}

TEST_CASE("killed again and again, but further each time: the deaths do not add up") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  const auto count_after = [&](int64_t step) {
    Child owner([&] { return claim_and_hang(folder, "a", "a", step); });
    wait_until_running(folder, party, "a");
    owner.kill();
    CHECK(party.claims.free_if_dead("a"));
    return party.claims.deaths("a").count;
  };
  for (const int64_t step : {3, 4, 9})
    CHECK(count_after(step) == 1);
  CHECK(count_after(9) == 2);
  CHECK(count_after(5) == 3);
  CHECK(party.claims.deaths("a").crashes == 0);
}

TEST_CASE("a rank that crashes while it helps with a clip counts as the clip's crash") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  for (const bool same_clip : {true, false}) {
    CAPTURE(same_clip);
    Child leader([&] { return claim_and_hang(folder, "a", "a"); });
    wait_until_running(folder, party, "a");
    const std::string token = *party.claims.holder("a"), helped = same_clip ? "a" : "b";
    crash_while_helping(folder, token, helped);
    leader.kill();
    CHECK(party.claims.free_if_dead("a"));
    CHECK(party.claims.deaths("a").crashes == 1);
    if (same_clip) CHECK(party.claims.deaths("a").how == "by SIGSEGV of rank 1");
    party.claims.sweep();
  }
}

TEST_CASE("what a crashed helper left stays until its leader, on another host, is known to be dead") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder, /*patience=*/0.2);
  const std::string token = "far-0123abcd.5.6", helped = "a";
  OwnerStatus leader = status_of(token);
  leader.world = 2;
  leader.first = token;
  leader.item = helped;
  spill(folder.owners() / (token + ".json"), to_json(leader).dump());
  fs::create_symlink("../owners/" + token + ".json", folder.claims() / helped);
  crash_while_helping(folder, token, helped);
  CHECK(party.claims.sweep() == 0);
  wait_for([&] { return party.claims.free_if_dead(helped); });
  CHECK(party.claims.deaths(helped).crashes == 1);
  CHECK(party.claims.sweep() == 2);
}

TEST_CASE("a crash is noted once, whoever tells of it, and frees the claim") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  REQUIRE(party.claims.take("a"));
  const std::string id = "a";
  party.owner.announce([&](OwnerStatus& status) { status.item = id; });
  party.claims.note_crash("a", party.owner.token(), "by an error of rank 2");
  party.claims.note_crash("a", party.owner.token(), "with its ranks");
  CHECK(party.claims.deaths("a").crashes == 1);
  CHECK(party.claims.deaths("a").how == "by an error of rank 2");
  CHECK(!party.claims.holder("a"));
}

TEST_CASE("of three takers of a dead owner's claim exactly one wins, 200 times") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  // A pid that was used again: there is such a process, but it started at another time.
  OwnerId gone = this_process();
  gone.start += 1;
  constexpr int kItems = 200;
  for (int i = 0; i < kItems; ++i) {
    fs::create_symlink(str("../owners/", gone.token(), ".json"), folder.claims() / std::to_string(i));
  }
  int done[2], hold[2];
  REQUIRE(pipe(done) == 0);
  REQUIRE(pipe(hold) == 0);
  const auto taker = [&] {
    Party party(folder);
    close(hold[1]);
    int mine = 0;
    for (int i = 0; i < kItems; ++i) {
      const std::string id = std::to_string(i);
      if (party.claims.free_if_dead(id) && party.claims.take(id)) ++mine;
    }
    for (int i = 0; i < kItems; ++i) {  // what it won stays its own
      if (party.claims.holder(std::to_string(i)) == gone.token()) return 8;
    }
    if (write(done[1], &mine, sizeof mine) != sizeof mine) return 9;
    char wait = 0;
    return read(hold[0], &wait, 1) == 0 ? 0 : 9;  // lives until all have counted
  };
  {
    Child a(taker), b(taker), c(taker);
    int sum = 0;
    for (int i = 0; i < 3; ++i) {
      int mine = 0;
      REQUIRE(read(done[0], &mine, sizeof mine) == sizeof mine);
      sum += mine;
    }
    CHECK(sum == kItems);  // each item exactly once
    close(hold[1]);
    CHECK(a.wait() == 0);
    CHECK(b.wait() == 0);
    CHECK(c.wait() == 0);
  }
  for (const int fd : {done[0], done[1], hold[0]})
    close(fd);
}

TEST_CASE("a process of another host lives while its heartbeat changes, by our own clock") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  double now = 1000;
  OwnerWatch watch(folder.owners(), 30, [&] { return now; });
  const std::string token = "elsewhere-00000000.12.345";
  CHECK(!watch.is_local(token));
  const auto beat = [&](int n) { spill(folder.owners() / (token + ".json"), std::to_string(n)); };
  beat(1);
  CHECK(!watch.is_dead(token));  // first look: nobody can know
  now += 29;
  CHECK(!watch.is_dead(token));
  beat(2);
  now += 29;
  CHECK(!watch.is_dead(token));  // it changed meanwhile
  now += 29.9;
  CHECK(!watch.is_dead(token));
  now += 0.2;
  CHECK(watch.is_dead(token));
  beat(3);  // it only stood still
  CHECK(!watch.is_dead(token));
}

TEST_CASE("an owner of another host without a file, or with a hostile name, is given the same time") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  double now = 0;
  OwnerWatch watch(folder.owners(), 30, [&] { return now; });
  for (const std::string token : {"elsewhere-00000000.1.1", "../../../etc/passwd", "", "x"}) {
    now = 0;
    CAPTURE(token);
    OwnerWatch one(folder.owners(), 30, [&] { return now; });
    CHECK(!one.is_dead(token));
    now = 31;
    CHECK(one.is_dead(token));
  }
}

TEST_CASE("the same token on another kernel is another process") {
  OwnerId other = this_process();
  other.host = str(other.host.substr(0, other.host.size() - 8), "00000000");
  const TemporaryFolder temporary;
  CHECK(!OwnerWatch(temporary.path()).is_local(other.token()));
  CHECK(OwnerWatch(temporary.path()).is_local(this_process().token()));
  CHECK(!OwnerWatch(temporary.path()).is_dead(this_process().token()));
}

TEST_CASE("a claim taken over is not given up by its first owner") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  Party party(folder);
  REQUIRE(party.claims.take("a"));
  fs::remove(folder.claims() / "a");
  fs::create_symlink("../owners/elsewhere-00000000.1.1.json", folder.claims() / "a");
  party.claims.release("a");
  CHECK(party.claims.holder("a") == "elsewhere-00000000.1.1");
}

TEST_CASE("the heartbeat goes on and the owner's file goes with the owner") {
  const TemporaryFolder temporary;
  const std::string token = this_process().token();
  const fs::path file = temporary.path() / (token + ".json");
  {
    Owner owner(temporary.path(), status_of(token), 0.02);
    const auto first = owner_status_from(slurp(file));
    REQUIRE(first);
    CHECK(first->token == token);
    wait_for([&] {
      const auto s = owner_status_from(slurp(file));
      return s && s->beat > first->beat + 3;
    });
    owner.announce([](OwnerStatus& status) {
      status.item = std::string(300, '\xff');  // no UTF-8 either
      status.stage = std::string(5000, 's');
    });
    CHECK(slurp(file).size() == 1024);  // rewritten in place: never longer
    CHECK(owner_status_from(slurp(file)));
  }
  CHECK(!fs::exists(file));
}

TEST_CASE("an owner's status with a number that is none of its kind is none") {
  const nlohmann::json good = to_json(status_of("host.1.2"));
  REQUIRE(owner_status_from(good.dump()));
  for (const auto& [key, value] : {std::pair<const char*, nlohmann::json>{"rank", 1e300},
                                   {"rank", int64_t{1} << 40},
                                   {"world", -1},
                                   {"step", 2.5},
                                   {"steps", UINT64_MAX},
                                   {"beat", "7"}}) {
    CAPTURE(key, value.dump());
    nlohmann::json bad = good;
    bad[key] = value;
    CHECK(!owner_status_from(bad.dump()));
  }
}

TEST_CASE("the lock excludes and is released by death") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  Child holder([&] {
    const FolderLock lock(folder);
    if (write(ready[1], "x", 1) != 1) return 1;
    pause();
    return 0;
  });
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  std::atomic<bool> got{false};
  std::thread waiter([&] {
    const FolderLock lock(folder);
    got = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(!got);
  holder.kill();
  waiter.join();
  CHECK(got);
  close(ready[0]);
  close(ready[1]);
}
