#include "jobs/ledger.h"

#include "run_support.h"

using namespace rushes;
using namespace rushes::test;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

ItemRecord record_of(const Item& item, bool done, int64_t attempts, const std::string& run = "earlier") {
  ItemRecord record;
  record.done = done;
  record.id = item.id;
  record.request = request_of(ResolvedJob(), item);
  record.request_hash = item.request_hash;
  record.run = run;
  record.attempts = attempts;
  record.files = {{"video", "videos/" + item.id + ".mp4", 1, 0, "x"},
                  {"frames", "frames/" + item.id + "/00000.png", 1, 0, "x"}};
  return record;
}

const std::vector<std::string> kVideo = {"videos/a.mp4"};

}  // namespace

TEST_CASE("the decision for an item, case by case") {
  const Item item = item_of("a", 1), other = item_of("a", 2);
  const LedgerRules plain{"now", false, false, false, 2}, fresh{"now", true, false, false, 2},
      retry{"now", false, true, false, 2};
  struct Case {
    const char* what;
    std::optional<ItemRecord> record;
    std::string differ;
    LedgerRules rules;
    ItemState state;
    int64_t attempts;
  };
  const std::vector<Case> cases = {
      {"no record", {}, "", plain, ItemState::todo, 0},
      {"done", record_of(item, true, 1), "", plain, ItemState::done, 1},
      {"done, a file is gone", record_of(item, true, 1), "gone", plain, ItemState::todo, 0},
      {"done by another request", record_of(other, true, 1), "", plain, ItemState::refused, 0},
      {"the same with --fresh", record_of(other, true, 1), "", fresh, ItemState::todo, 0},
      {"done before, --fresh", record_of(item, true, 1), "", fresh, ItemState::todo, 0},
      {"done by this run, --fresh", record_of(item, true, 1, "now"), "", fresh, ItemState::done, 1},
      {"failed once", record_of(item, false, 1), "", plain, ItemState::todo, 1},
      {"failed twice", record_of(item, false, 2), "", plain, ItemState::todo, 2},
      {"failed three times", record_of(item, false, 3), "", plain, ItemState::failed, 3},
      {"the same, --retry-failed", record_of(item, false, 3), "", retry, ItemState::todo, 0},
      {"failed in this run", record_of(item, false, 1, "now"), "", plain, ItemState::failed, 1},
      {"failed in this run, --retry-failed", record_of(item, false, 1, "now"), "", retry, ItemState::failed,
       1},
      {"failed three times, --fresh", record_of(item, false, 3), "", fresh, ItemState::todo, 0},
      {"another request failed", record_of(other, false, 9), "", plain, ItemState::todo, 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const LedgerEntry entry = decide(item, c.record, c.differ, kVideo, c.rules);
    CHECK(entry.state == c.state);
    CHECK(entry.attempts == c.attempts);
  }
}

TEST_CASE("an output that the job wants now and the record lacks makes the item again") {
  const Item item = item_of("a");
  const LedgerRules plain{"now", false, false, false, 2};
  const auto state = [&](const std::vector<std::string>& outputs) {
    return decide(item, record_of(item, true, 1), "", outputs, plain);
  };
  CHECK(state({"videos/a.mp4", "frames/a/"}).state == ItemState::done);
  CHECK(state({"latents/a.safetensors"}).state == ItemState::todo);
  CHECK_THAT(state({"latents/a.safetensors"}).why, Contains("latents/a.safetensors was not made"));
  CHECK(state({"frames/ab/"}).state == ItemState::todo);
}

TEST_CASE("every refused item is listed with the changed keys and both values") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  ResolvedJob job;
  job.job.retries = 2;
  for (const char* id : {"a", "b", "c"}) {
    spill(folder.record(id), to_text(record_of(item_of(id, 42), true, 1)));
    spill(temporary.path() / "videos" / (std::string(id) + ".mp4"), "x");
    job.items.push_back(item_of(id, std::string(id) == "b" ? 42 : 43));
  }
  std::vector<std::string> warnings;
  const LedgerRules rules{"now", false, false, false, 2};
  try {
    read_ledger(job, folder, rules, warnings);
    FAIL("not refused");
  } catch (const UserError& error) {
    REQUIRE(error.problems().size() == 2);
    CHECK_THAT(error.problems()[0], Contains("'a'") && Contains("sampling.seed") && Contains("42") &&
                                        Contains("43") && Contains("--fresh"));
    CHECK_THAT(error.problems()[1], Contains("'c'"));
  }
}

TEST_CASE("a folder belongs to one model and numerics") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path());
  const WorkPlace work(folder, "t");
  ResolvedJob job;
  job.items = {item_of("a")};
  job.facts.model = str("m");
  job.job.model = "models/m";
  CHECK_NOTHROW(check_folder_identity(job, folder));
  note_folder_identity(job, folder, work);
  CHECK_NOTHROW(check_folder_identity(job, folder));
  job.facts.model = str("n");
  CHECK_THROWS_WITH(check_folder_identity(job, folder), Contains("another model") && Contains("models/m"));
  job.facts.model = str("m");
  job.job.numerics = Numerics::official;
  CHECK_THROWS_WITH(check_folder_identity(job, folder), Contains("another numerics") && Contains("official"));
  spill(folder.hidden() / "folder.json", "{broken");
  CHECK_THROWS_WITH(check_folder_identity(job, folder),
                    Contains("folder.json") && Contains("which model's clips"));
}
