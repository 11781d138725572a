// Clips that do not fit into memory: which rungs are tried, what is written down, and who is not harmed.
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "rank_support.h"

using namespace rushes;
using namespace rushes::test;
using Catch::Contains;

namespace {

constexpr MemoryRung kWhole{}, kTiles{.tiles = true}, kOffload{.offload = true},
    kBoth{.tiles = true, .offload = true};

/// Throws what LibTorch's allocators throw, for prompts with "large" on every rung before `fits`.
std::function<void(const Request&)> short_until(Rank& rank, std::optional<MemoryRung> fits) {
  return [&rank, fits](const Request& request) {
    if (request.prompt.find("large") == std::string::npos ||
        (fits && rank.pipeline.rungs.back() == text_of(*fits)))
      return;
    at::empty({int64_t{1} << 50}, at::kByte);
  };
}

std::vector<std::string> texts_of(const std::vector<MemoryRung>& rungs) {
  std::vector<std::string> texts;
  for (const MemoryRung rung : rungs)
    texts.push_back(text_of(rung));
  return texts;
}

std::vector<nlohmann::json> memory_events(const OutputFolder& folder) {
  std::vector<nlohmann::json> found;
  read_events(folder.events(), 0, [&](const nlohmann::json& event) {
    if (event.value("event", "") == "item_memory") found.push_back(event);
  });
  return found;
}

}  // namespace

TEST_CASE("a clip that runs out of memory is tried again at once, one rung further each time") {
  const auto [fits, climbed] = GENERATE(table<MemoryRung, std::vector<MemoryRung>>(
      {{kTiles, {kWhole, kTiles}}, {kBoth, {kWhole, kTiles, kBoth}}}));
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("large", 1, 9), item_of("small", 2, 1)});
  Rank rank(temporary.path(), job);
  rank.pipeline.before = short_until(rank, fits);
  CHECK(rank.go().empty());
  std::vector<MemoryRung> want = climbed;
  want.push_back(kWhole);  // the next item begins at the bottom
  CHECK(rank.pipeline.rungs == texts_of(want));
  const ItemRecord large = rank.record("large");
  CHECK(large.done);
  CHECK(large.attempts == 1);
  const nlohmann::json& memory = large.more.at("memory");
  CHECK(memory.at("rung") == rung_name(fits));
  CHECK(memory.at("tiles") == true);
  CHECK(memory.at("tried").size() == climbed.size() - 1);
  CHECK(memory.at("tried")[0] == nlohmann::json{{"rung", "none"},
                                                {"tiles", false},
                                                {"stage", "denoising, step 2 of 1"},
                                                {"asked", "1048576.0 GiB"}});
  CHECK(!rank.record("small").more.contains("memory"));
  const auto events = memory_events(rank.folder);
  REQUIRE(events.size() == climbed.size() - 1);
  CHECK(events[0].at("id") == "large");
  CHECK(events[0].at("ran_out") == "none");
  CHECK(events[0].at("rung") == "tiles");
  CHECK(files_below(temporary.path() / ".rushes" / "deaths").empty());
  CHECK(rank.go().empty());  // made with tiles or not, it is done
  CHECK(rank.pipeline.rungs.size() == want.size());
}

TEST_CASE("a clip that fits nowhere fails for good, says what was tried, and leaves the rest alone") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("large", 1, 9), item_of("small", 2, 1)});
  Rank rank(temporary.path(), job);
  rank.pipeline.before = short_until(rank, std::nullopt);
  CHECK(rank.go().empty());
  CHECK(rank.pipeline.rungs == texts_of({kWhole, kTiles, kBoth, kWhole}));
  const ItemRecord large = rank.record("large");
  CHECK(!large.done);
  CHECK_THAT(large.error, Contains("out of memory; tried: as any other clip") && Contains("1048576.0 GiB") &&
                              Contains("blended tiles") && Contains("--retry-failed"));
  CHECK(large.more.at("memory").at("tried").size() == 3);
  CHECK(rank.record("small").done);
  CHECK(memory_events(rank.folder).back().at("rung") == "quarantine");
  CHECK(files_below(temporary.path() / ".rushes" / "deaths").empty());

  Rank later(temporary.path(), job, "run-2");  // no rerun tries it, though it has retries
  CHECK(later.go().empty());
  CHECK(later.pipeline.rungs.empty());
  CHECK(later.state(0) == ItemState::failed);

  Rank asked(temporary.path(), job, "run-3");
  asked.rules.retry_failed = true;
  CHECK(asked.go().empty());
  CHECK(asked.pipeline.rungs == texts_of({kWhole}));
  CHECK(asked.record("large").done);
}

TEST_CASE("tiles only where they are allowed: never for references, not where vae_tiling is off") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("large")}, {"video"});
  const bool regress = GENERATE(true, false);
  if (regress) job.job.kind = JobKind::regress;
  if (!regress) job.job.vae_tiling = VaeTiling::off;
  Rank rank(temporary.path(), job);
  rank.pipeline.before = short_until(rank, std::nullopt);
  CHECK(rank.go().empty());
  CHECK(rank.pipeline.rungs == texts_of({kWhole, kOffload}));
  CHECK_THAT(rank.record("large").error,
             Contains("tiles were not tried") && Contains(regress ? "references" : "vae_tiling is off"));
}

TEST_CASE("vae_tiling: on begins with tiles and says so in every record") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("large", 1, 9), item_of("small", 2, 1)}, {"video"});
  job.job.vae_tiling = VaeTiling::on;
  Rank rank(temporary.path(), job);
  rank.pipeline.before = short_until(rank, kBoth);
  CHECK(rank.go().empty());
  CHECK(rank.pipeline.rungs == texts_of({kTiles, kBoth, kTiles}));
  CHECK(rank.record("small").more.at("memory") ==
        nlohmann::json{{"rung", "tiles"}, {"tiles", true}, {"tried", nlohmann::json::array()}});
}

TEST_CASE("what was tried is kept for the next run of the same request, and for no other") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("large")}, {"video"});
  {
    Rank rank(temporary.path(), job);
    rank.pipeline.before = [&](const Request&) {
      if (rank.pipeline.rungs.back() == text_of(kWhole)) throw std::bad_alloc();
      rank.stop.request();  // in the middle of the second try
    };
    CHECK(rank.go().empty());
    CHECK(rank.pipeline.rungs == texts_of({kWhole, kTiles}));
    CHECK(rank.claims.deaths("large").count == 0);
  }
  ResolvedJob smaller = job_of({item_of("large", 7)}, {"video"});
  Rank other(temporary.path(), smaller, "run-2");
  CHECK((MemoryLadder(smaller.job, smaller.items[0], other.claims, other.events).rung() == kWhole));
  Rank again(temporary.path(), job, "run-3");
  CHECK(again.go().empty());
  CHECK(again.pipeline.rungs == texts_of({kTiles}));
  CHECK(again.record("large").more.at("memory").at("tried").size() == 1);
}

TEST_CASE("notes of a rank's death keep what was tried, and broken notes count for nothing") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("large")}, {"video"});
  Rank rank(temporary.path(), job);
  MemoryLadder(job.job, job.items[0], rank.claims, rank.events).ran_out(kWhole, "decoding", "");
  MemoryLadder(job.job, job.items[0], rank.claims, rank.events)
      .ran_out(kWhole, "decoding", "");  // another rank
  CHECK(rank.claims.take("large"));
  rank.owner.announce([](OwnerStatus& status) { status.item = "large"; });
  rank.claims.note_crash("large", rank.owner.token(), "with its device");
  const MemoryLadder ladder(job.job, job.items[0], rank.claims, rank.events);
  CHECK((ladder.rung() == kTiles));
  CHECK(ladder.record().at("tried").size() == 1);
  CHECK(rank.claims.deaths("large").crashes == 1);
  for (const char* broken : {R"("x")", R"({"request": 7})", R"({"request": "@", "tried": [{"rung": 5}]})",
                             R"({"request": "@", "tried": {"a": "b"}})"}) {
    std::string text = broken;
    if (const size_t at = text.find('@'); at != std::string::npos)
      text.replace(at, 1, job.items[0].request_hash);
    rank.claims.note_memory("large", nlohmann::json::parse(text));
    CHECK((MemoryLadder(job.job, job.items[0], rank.claims, rank.events).rung() == kWhole));
  }
}

#ifndef __SANITIZE_ADDRESS__  // whose own memory the limit would hit
TEST_CASE("a clip that cannot be written beside the making of the next one is written after that") {
  // In a program of its own: what other cases gave back to malloc would hold the PNG.
  Child fresh(
      [] { return execl("/proc/self/exe", "unit-jobs", "[short of memory]", "-w", "NoTests", nullptr); });
  CHECK(fresh.wait() == 0);
}

TEST_CASE("room for one picture and not for its PNG", "[.][short of memory]") {
  const TemporaryFolder temporary;
  ResolvedJob job = job_of({item_of("large", 1, 9), item_of("next", 2, 1)}, {"frames"});
  job.items[0].sampling.height = job.items[0].sampling.width = 2048;
  job.items[0].sampling.num_frames = 1;
  job.job.reject = {};  // looking at the picture takes memory too
  Rank rank(temporary.path(), job);
  rlimit before{};
  getrlimit(RLIMIT_DATA, &before);
  bool kept = false;
  rank.pipeline.before = [&](const Request& request) {
    if (request.prompt == "a large") {
      std::ifstream status("/proc/self/status");
      std::string word;
      rlim_t kibibytes = 0;
      while (status >> word && word != "VmData:") {
      }
      status >> kibibytes;
      rlimit tight = before;
      // Room for the picture of 12 MiB, and not for its PNG beside it.
      tight.rlim_cur = kibibytes * 1024 + (size_t{15} << 20);
      setrlimit(RLIMIT_DATA, &tight);
      return;
    }
    for (int i = 0; i < 6000 && !kept; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      kept = rank.writer.set_aside() == 1;
    }
    setrlimit(RLIMIT_DATA, &before);
  };
  CHECK(rank.go().empty());
  CHECK(kept);
  CHECK(rank.record("large").done);
  CHECK(rank.record("next").done);
}
#endif
