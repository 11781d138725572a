#include "jobs/runner.h"

#include <sys/mount.h>
#include <sys/prctl.h>

#include <set>
#include <thread>

#include "rank_support.h"

using namespace rushes;
using namespace rushes::test;
using Catch::Contains;
namespace fs = std::filesystem;

TEST_CASE("a rank makes all items, longest first, whole and with records") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("short", 1, 1), item_of("long", 2, 9), item_of("middle", 3, 5)});
  Rank rank(temporary.path(), job);
  CHECK(rank.go().empty());
  CHECK(rank.pipeline.prompts == std::vector<std::string>{"a long", "a middle", "a short"});
  for (size_t i = 0; i < 3; ++i)
    CHECK(rank.state(i) == ItemState::done);
  const ItemRecord record = rank.record("long");
  CHECK(record.files.size() == 4);  // video, latents, two frames
  CHECK(files_differ(record, temporary.path(), true).empty());
  CHECK(record.more.at("times").contains("denoising"));
  CHECK(count_events(rank.folder, "item_done", "long") == 1);
  CHECK(rank.claims.all().empty());
  CHECK(fs::is_empty(rank.folder.work() / rank.owner.token()));
  CHECK(fs::exists(temporary.path() / "frames/long/00001.png"));
  CHECK(rank.go().empty());  // nothing left
  CHECK(rank.pipeline.prompts.size() == 3);
}

TEST_CASE("a black clip is a failed item, where the job does not want such") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("black", 4), item_of("dark", 5)});
  job.job.retries = 0;
  {
    Rank rank(temporary.path(), job);
    rank.pipeline.darkest = 0;
    CHECK(rank.go().empty());
    CHECK(rank.state(0) == ItemState::failed);
    CHECK(rank.state(1) == ItemState::done);
    CHECK(rank.record("black").error ==
          "the clip is black: every pixel of all 2 frames is at most 4 of 255 (reject: [] keeps such clips)");
    CHECK(!fs::exists(temporary.path() / "videos/black.mp4"));
  }
  const TemporaryFolder second;
  job.job.reject = {"noise"};
  Rank rank(second.path(), job);
  rank.pipeline.darkest = 0;
  CHECK(rank.go().empty());
  CHECK(rank.state(0) == ItemState::done);
  const TemporaryFolder third;
  job.job.reject = {"black", "noise"};
  job.job.kind = JobKind::preprocess;  // real videos may be black
  Rank real(third.path(), job);
  real.pipeline.darkest = 0;
  CHECK(real.go().empty());
  CHECK(real.state(0) == ItemState::done);
}

TEST_CASE("failing items are recorded, each with its reason, and the rest go on") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("user"), item_of("memory"), item_of("bug"), item_of("other"),
                            item_of("odd"), item_of("good")});
  job.items[4].sampling.height = 15;  // H.264 takes even sides only: this one fails in the writer
  Rank rank(temporary.path(), job);
  rank.pipeline.before = [](const Request& request) {
    if (request.prompt == "a user") fail("the clip is too long");
    if (request.prompt == "a memory") throw std::bad_alloc();
    if (request.prompt == "a bug") throw InternalError("x == y");
    if (request.prompt == "a other") throw 7;
  };
  CHECK(rank.go().empty());
  const auto error = [&](const char* id) {
    const ItemRecord record = rank.record(id);
    CHECK(!record.done);
    CHECK(record.attempts ==
          (record.id == "memory" ? 3 : 1));  // those of a clip that fits nowhere are used up
    return record.error;
  };
  CHECK(error("user") == "the clip is too long");
  CHECK_THAT(error("memory"), Contains("out of memory"));
  CHECK_THAT(error("bug"), Contains("internal error") && Contains("x == y"));
  CHECK(error("other") == "unknown error");
  CHECK_THAT(error("odd"), Contains("writing"));
  CHECK(rank.record("good").done);
  CHECK(rank.claims.all().empty());
  CHECK(!fs::exists(temporary.path() / "videos/odd.mp4"));
  CHECK(count_events(rank.folder, "item_failed", "odd") == 1);
}

TEST_CASE("a failed item is tried again by later runs up to its retries, not twice in one") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("a")}, {"video"});
  int tries = 0;
  for (int run = 1; run <= 4; ++run) {
    Rank rank(temporary.path(), job, "run-" + std::to_string(run));
    rank.pipeline.before = [&](const Request&) {
      ++tries;
      fail("no");
    };
    CHECK(rank.go().empty());
    CHECK(rank.go(Round::last_chance).empty());
    CHECK(tries == std::min(run, 3));
    CHECK(rank.record("a").attempts == std::min(run, 3));
  }
  Rank rank(temporary.path(), job, "run-5");
  rank.rules.retry_failed = true;
  CHECK(rank.go().empty());
  CHECK(rank.record("a").done);
}

TEST_CASE("a stop ends the running step, keeps what is finished and gives the claim up") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("a", 1, 3), item_of("b", 2, 2), item_of("c", 3, 1)}, {"video"});
  Rank rank(temporary.path(), job);
  rank.pipeline.before = [&](const Request& request) {
    if (request.prompt == "a b") rank.stop.request();
  };
  CHECK(rank.go().empty());
  CHECK(rank.record("a").done);
  CHECK(!fs::exists(rank.folder.record("b")));
  CHECK(rank.claims.all().empty());
  CHECK(rank.claims.deaths("b").count == 0);
  CHECK(rank.pipeline.prompts.size() == 2);

  Rank again(temporary.path(), job, "run-2");
  CHECK(again.go().empty());
  CHECK(again.pipeline.prompts == std::vector<std::string>{"a b", "a c"});
}

TEST_CASE("--fresh makes everything again, and old outputs of another request go") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("a", 1)});
  Rank(temporary.path(), job).go();
  const std::string old_latents = slurp(temporary.path() / "latents/a.safetensors");
  ResolvedJob changed = job_of({item_of("a", 2)}, {"latents"});
  {
    Rank refused(temporary.path(), changed, "run-2");
    CHECK_THROWS_AS(refused.go(), UserError);
    const std::vector<LedgerEntry> nothing(1);
    const WorkOrder order(changed.items, nothing, "digest");
    Runner runner(RunnerParts{changed, refused.pipeline, refused.folder, refused.claims, refused.owner,
                              refused.publisher, refused.writer, refused.events, nullptr, refused.stop,
                              refused.crew, refused.rules, order, refused.clock});
    runner.work(Round::ordinary);
    CHECK(refused.pipeline.prompts.empty());  // nor where the other request came in between
  }
  Rank fresh(temporary.path(), changed, "run-3", true);
  CHECK(fresh.go().empty());
  CHECK(fresh.pipeline.prompts.size() == 1);
  CHECK(fresh.record("a").run == "run-3");
  CHECK(slurp(temporary.path() / "latents/a.safetensors") != old_latents);
  CHECK(!fs::exists(temporary.path() / "videos/a.mp4"));
  CHECK(!fs::exists(temporary.path() / "frames/a"));
  CHECK(fresh.go().empty());
  CHECK(fresh.pipeline.prompts.size() == 1);
}

TEST_CASE("records that came while a rank walked are read before it ends, however many") {
  const TemporaryFolder temporary("/dev/shm");
  std::vector<Item> items;
  for (int i = 0; i < 300; ++i)
    items.push_back(item_of("item-" + std::to_string(i), i));
  ResolvedJob videos = job_of(items, {"video"}), latents = job_of(items, {"latents"});
  Rank first(temporary.path(), videos), second(temporary.path(), latents, "run-2");
  // The first begins when nothing is there; meanwhile the second makes every item, for which the first has
  // another use, and fails one, which is not tried twice by runs at the same time.
  std::vector<std::string> warnings;
  first.ledger = read_ledger(videos, first.folder, first.rules, warnings);
  first.order.emplace(videos.items, first.ledger, "digest");
  first.runner.emplace(RunnerParts{videos, first.pipeline, first.folder, first.claims, first.owner,
                                   first.publisher, first.writer, first.events, nullptr, first.stop,
                                   first.crew, first.rules, *first.order, first.clock});
  second.pipeline.before = [](const Request& request) {
    if (request.prompt == "a item-7") fail("no");
  };
  CHECK(second.go().empty());
  Front(first.folder, "digest").write(300);  // and its walk is at the end
  CHECK(first.go().empty());
  CHECK(first.pipeline.prompts.size() == 299);
  for (size_t i = 0; i < items.size(); ++i)
    CHECK(first.state(i) == (i == 7 ? ItemState::todo : ItemState::done));
}

TEST_CASE("while the old output is replaced no record says done") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("a", 1)}, {"video", "latents"});
  Rank(temporary.path(), job).go();
  Rank fresh(temporary.path(), job, "run-2", true);
  // The second of the two outputs cannot take its place: a folder with files is in the way.
  fs::remove(temporary.path() / "latents/a.safetensors");
  spill(temporary.path() / "latents/a.safetensors/x", "in the way");
  fresh.go();
  CHECK(!fresh.record("a").done);
}

TEST_CASE("an item that crashes its process is given up after retries + 1 deaths, and alone at the end") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("poison", 1, 9), item_of("good", 2, 1)}, {"video"});
  const auto life = [&](int number) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Rank rank(temporary.path(), job, "run-" + std::to_string(number));
    mark_crashes(rank.owner.path());
    rank.pipeline.before = [](const Request& request) {
      if (request.prompt == "a poison") raise(SIGSEGV);
    };
    rank.claims.sweep();
    rank.go();
    rank.go(Round::last_chance);
    return 0;
  };
  const auto good_is_done = [&] { return fs::exists(temporary.path() / "items/good.json"); };
  CHECK(Child([&] { return life(1); }).wait() == -SIGSEGV);
  CHECK(Child([&] { return life(2); }).wait() == -SIGSEGV);
  CHECK(!good_is_done());
  CHECK(Child([&] { return life(3); }).wait() == -SIGSEGV);  // its last chance comes after all else is done
  CHECK(good_is_done());
  CHECK(!fs::exists(temporary.path() / "items/poison.json"));
  CHECK(Child([&] { return life(4); }).wait() == 0);
  const ItemRecord record = record_from(slurp(temporary.path() / "items/poison.json"), "poison");
  CHECK(!record.done);
  CHECK(record.attempts == 3);
  CHECK_THAT(record.error, Contains("died 3 times") && Contains("by SIGSEGV") && Contains("'denoising'"));
  CHECK(files_below(temporary.path() / ".rushes") == std::vector<std::string>{"front", "lock"});
}

TEST_CASE("an item whose process is killed from outside never fails for it; others go first") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("long", 1, 9), item_of("short", 2, 1)}, {"video"});
  job.job.retries = 0;
  const auto life = [&](int number, bool killed) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Rank rank(temporary.path(), job, "run-" + std::to_string(number));
    mark_crashes(rank.owner.path());
    rank.pipeline.before = [&](const Request& request) {
      if (!killed || request.prompt != "a long") return;
      rank.writer.drain();
      raise(SIGKILL);
    };
    rank.claims.sweep();
    rank.go();
    rank.go(Round::last_chance);
    return 0;
  };
  for (int number = 1; number <= 6; ++number) {
    CHECK(Child([&] { return life(number, true); }).wait() == -SIGKILL);
    CHECK(fs::exists(temporary.path() / "items/short.json") ==
          (number > 1));  // from the second run on it is first
    CHECK(!fs::exists(temporary.path() / "items/long.json"));
  }
  CHECK(Child([&] { return life(7, false); }).wait() == 0);
  const ItemRecord record = record_from(slurp(temporary.path() / "items/long.json"), "long");
  CHECK(record.done);
  CHECK(record.attempts == 1);
}

TEST_CASE("outputs of kinds that a later job does not save stay, and are known") {
  const TemporaryFolder temporary;
  ResolvedJob video = job_of({item_of("a")}, {"video", "frames"}),
              latents = job_of({item_of("a")}, {"latents"});
  Rank(temporary.path(), video).go();
  const FileEntry before = Rank(temporary.path(), video).record("a").files.at(0);
  Rank second(temporary.path(), latents, "run-2");
  CHECK(second.go().empty());
  CHECK(second.pipeline.prompts.size() == 1);
  const ItemRecord record = second.record("a");
  CHECK(record.files.size() == 4);  // latents, video, two frames
  CHECK(files_differ(record, temporary.path(), true).empty());
  const auto same = [&](const FileEntry& file) {
    return file.path == before.path && file.mtime_ns == before.mtime_ns;
  };
  CHECK(std::any_of(record.files.begin(), record.files.end(), same));
  Rank third(temporary.path(), video, "run-3");
  CHECK(third.go().empty());
  CHECK(third.pipeline.prompts.empty());
}

TEST_CASE("of what is kept beside a new save, damaged kinds go and --fresh keeps nothing") {
  const TemporaryFolder temporary;
  ResolvedJob all = job_of({item_of("a")}, {"video", "frames"}),
              latents = job_of({item_of("a")}, {"latents"});
  Rank(temporary.path(), all).go();
  const fs::path video = temporary.path() / "videos/a.mp4";
  const auto time = fs::last_write_time(video);
  std::string bytes = slurp(video);
  bytes[bytes.size() / 2] ^= 1;
  spill(video, bytes);
  fs::last_write_time(video, time);
  const auto kinds = [&](Rank& rank) {
    std::set<std::string> found;
    for (const FileEntry& file : rank.record("a").files)
      found.insert(file.kind);
    return found;
  };
  Rank second(temporary.path(), latents, "run-2");
  CHECK(second.go().empty());
  CHECK(kinds(second) == std::set<std::string>{"frames", "latents"});
  CHECK(!fs::exists(video));
  CHECK(fs::exists(temporary.path() / "frames/a/00000.png"));
  Rank fresh(temporary.path(), latents, "run-3", true);
  CHECK(fresh.go().empty());
  CHECK(kinds(fresh) == std::set<std::string>{"latents"});
  CHECK(!fs::exists(temporary.path() / "frames/a"));
}

TEST_CASE("a rank waits for a live owner's item, and takes it over when that one dies") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("a"), item_of("b")}, {"video"});
  Child other([&] {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Rank rank(temporary.path(), job, "run-2");
    rank.pipeline.before = [](const Request&) { pause(); };
    rank.go();
    return 0;
  });
  Rank rank(temporary.path(), job);
  for (int i = 0; i < 6000 && rank.claims.all().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  REQUIRE(rank.claims.all() == std::vector<std::string>{"a"});
  bool waited = false;
  std::thread killer([&] {
    for (int i = 0; i < 6000 && !fs::exists(rank.folder.record("b")); ++i)  // a busy disk takes its time
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    waited = fs::exists(rank.folder.record("b")) && !fs::exists(rank.folder.record("a"));
    other.kill();
  });
  CHECK(rank.go().empty());
  killer.join();
  CHECK(waited);
  CHECK(rank.pipeline.prompts == std::vector<std::string>{"a b", "a a"});
  CHECK(rank.record("a").done);
  CHECK(rank.record("a").attempts == 1);  // being killed is no failed try
}

TEST_CASE("a clip whose claim was lost is not published") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("a")}, {"video"});
  Rank rank(temporary.path(), job);
  rank.pipeline.before = [&](const Request&) {
    fs::remove(rank.folder.claims() / "a");
    fs::create_symlink("../owners/elsewhere-00000000.1.1.json", rank.folder.claims() / "a");
  };
  CHECK(rank.go().empty());
  CHECK(!fs::exists(rank.folder.record("a")));
  CHECK(!fs::exists(temporary.path() / "videos/a.mp4"));
  CHECK(rank.claims.holder("a") == "elsewhere-00000000.1.1");
}

TEST_CASE("a full disk stops the run, and no item is blamed") {
  const TemporaryFolder temporary;
  const fs::path disk = temporary.path() / "disk";
  fs::create_directory(disk);
  if (mount("rushes-test", disk.c_str(), "tmpfs", 0, "size=1m") != 0) {
    WARN("skipped: a small file system cannot be mounted here (needs root)");
    return;
  }
  const std::shared_ptr<void> unmount(nullptr, [&](void*) { umount2(disk.c_str(), MNT_DETACH); });
  ResolvedJob job = job_of({item_of("a"), item_of("b"), item_of("c")}, {"video"});
  {
    Rank rank(disk, job);
    rank.pipeline.before = [&](const Request& request) {
      if (request.prompt != "a b") return;
      rank.writer.drain();
      std::ofstream filler(disk / "filler", std::ios::binary);
      const std::string block(4096, 'x');
      while (filler.write(block.data(), 4096).flush()) {
      }
    };
    CHECK_THAT(rank.go(), Contains("No space left on device"));
    CHECK(rank.record("a").done);
    for (const char* id : {"b", "c"})
      CHECK(!fs::exists(rank.folder.record(id)));
    CHECK(rank.pipeline.prompts.size() <= 3);
  }
  fs::remove(disk / "filler");
  Rank rank(disk, job, "run-2");
  rank.claims.sweep();
  CHECK(rank.go().empty());
  for (const char* id : {"a", "b", "c"})
    CHECK(rank.record(id).done);
}
