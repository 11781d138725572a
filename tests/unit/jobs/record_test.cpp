#include "jobs/record.h"

#include <random>

#include "run_support.h"

using namespace rushes;
using namespace rushes::test;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

ItemRecord done_record() {
  ItemRecord record;
  record.done = true;
  record.id = "a";
  record.request_hash = "0123";
  record.request = {{"prompt", "“ü”"}, {"sampling.seed", 42}};
  record.run = "run-1";
  record.attempts = 2;
  record.files = {{"video", "videos/a.mp4", 5, 123456789012345, "ff"}};
  record.more = {{"seconds", 1.5}, {"warnings", {"one"}}};
  return record;
}

}  // namespace

TEST_CASE("records survive the way to disk and back") {
  const ItemRecord record = done_record();
  const ItemRecord back = record_from(to_text(record), "x");
  CHECK(back.done);
  CHECK(back.id == record.id);
  CHECK(back.request == record.request);
  CHECK(back.request_hash == record.request_hash);
  CHECK(back.run == record.run);
  CHECK(back.attempts == 2);
  REQUIRE(back.files.size() == 1);
  CHECK(back.files[0].path == "videos/a.mp4");
  CHECK(back.files[0].bytes == 5);
  CHECK(back.files[0].mtime_ns == 123456789012345);
  CHECK(back.more == record.more);
  CHECK(to_text(back) == to_text(record));

  ItemRecord failed = record;
  failed.done = false;
  failed.error = "line one\nline two \xff";  // not UTF-8: replaced, never thrown
  const ItemRecord failed_back = record_from(to_text(failed), "x");
  CHECK(!failed_back.done);
  CHECK_THAT(failed_back.error, Contains("line one\nline two"));
}

TEST_CASE("hostile records are errors that say what is wrong, never crashes") {
  const std::string good = to_text(done_record());
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "x:"},
      {"[]", "no JSON object"},
      {"null", "no JSON object"},
      {"{}", "no \"status\""},
      {changed("\"done\"", "\"maybe\""), "\"status\" is"},
      {changed("\"done\"", "7"), "\"status\" is number"},
      {changed("\"attempts\": 2", "\"attempts\": -1"), "\"attempts\" is -1"},
      {changed("\"attempts\": 2", "\"attempts\": 1.5"), "\"attempts\" is number"},
      {changed("\"attempts\": 2", "\"attempts\": 1e999"), "x:"},
      {changed("videos/a.mp4", "/etc/passwd"), "not relative"},
      {changed("videos/a.mp4", "../../a.mp4"), "leaves the folder"},
      {changed("videos/a.mp4", "videos/../../a.mp4"), "leaves the folder"},
      {changed("videos/a.mp4", ""), "not relative"},
      {changed("videos/a.mp4", "videos/\\u0000a"), "not relative"},
      {changed("\"bytes\": 5", "\"bytes\": 18446744073709551615"), "bytes"},
      {changed("\"bytes\": 5", "\"bytes\": \"5\""), "\"bytes\" is string"},
      {good.substr(0, good.size() / 2), "x:"},
      {std::string(100000, '['), "more than 64 levels"},
      {std::string(1 << 20, '\xff'), "x:"},
  };
  for (const auto& [text, why] : cases) {
    CAPTURE(text.substr(0, 200));
    CHECK_THROWS_AS(record_from(text, "x"), UserError);
    CHECK_THROWS_WITH(record_from(text, "x"), Contains(why));
  }
}

TEST_CASE("random damage never gives anything but a record or a UserError") {
  const std::string good = to_text(done_record());
  const unsigned seed = Catch::rngSeed();
  CAPTURE(seed);
  std::mt19937 random(seed);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (unsigned hits = 1 + random() % 4; hits > 0; --hits)
      text[random() % text.size()] = static_cast<char>(random());
    try {
      record_from(text, "x");
    } catch (const UserError&) {
      ++refused;
    }
  }
  CHECK(refused > 1000);
}

TEST_CASE("a broken record, or another item's, counts as none and is told of") {
  const TemporaryFolder temporary;
  std::vector<std::string> warnings;
  CHECK(!read_record(temporary.path() / "a.json", warnings));
  CHECK(warnings.empty());
  spill(temporary.path() / "a.json", "{half");
  CHECK(!read_record(temporary.path() / "a.json", warnings));
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Contains("a.json"));
  spill(temporary.path() / "b.json", to_text(done_record()));
  CHECK(!read_record(temporary.path() / "b.json", warnings));
  REQUIRE(warnings.size() == 2);
  CHECK_THAT(warnings[1], Contains("record of 'a'"));
  ItemRecord long_id = done_record();
  long_id.id = std::string(70000, 'i');
  spill(temporary.path() / "b.json", to_text(long_id));
  CHECK(!read_record(temporary.path() / "b.json", warnings));
  REQUIRE(warnings.size() == 3);
  CHECK_THAT(warnings[2], Contains("record of 'iii") && Contains("iii...iii") && Contains("(70000 bytes)"));
  CHECK(warnings[2].size() < 500);
  fs::create_directory(temporary.path() / "c.json");
  CHECK(!read_record(temporary.path() / "c.json", warnings));
  CHECK(warnings.size() == 4);
  spill(temporary.path() / "a.json", to_text(done_record()));
  CHECK(read_record(temporary.path() / "a.json", warnings));
}

TEST_CASE("files are compared by size, by bytes where the time differs, and always with verify") {
  const TemporaryFolder temporary;
  spill(temporary.path() / "videos/a.mp4", "12345");
  ItemRecord record = done_record();
  record.files = {file_entry(temporary.path(), "video", "videos/a.mp4")};
  CHECK(record.files[0].bytes == 5);
  CHECK(files_differ(record, temporary.path(), false).empty());
  CHECK(files_differ(record, temporary.path(), true).empty());

  const auto time = fs::last_write_time(temporary.path() / "videos/a.mp4");
  spill(temporary.path() / "videos/a.mp4", "54321");
  fs::last_write_time(temporary.path() / "videos/a.mp4", time);
  CHECK(files_differ(record, temporary.path(), false).empty());  // same size and time
  CHECK_THAT(files_differ(record, temporary.path(), true), Contains("other bytes"));
  fs::last_write_time(temporary.path() / "videos/a.mp4", time + std::chrono::seconds(1));
  CHECK_THAT(files_differ(record, temporary.path(), false), Contains("other bytes"));
  spill(temporary.path() / "videos/a.mp4", "12345");  // copied elsewhere and back: time differs, bytes agree
  CHECK(files_differ(record, temporary.path(), false).empty());
  spill(temporary.path() / "videos/a.mp4", "1234");
  CHECK_THAT(files_differ(record, temporary.path(), false), Contains("has 4 bytes, 5 are recorded"));
  fs::remove(temporary.path() / "videos/a.mp4");
  CHECK_THAT(files_differ(record, temporary.path(), false), Contains("videos/a.mp4"));
  fs::create_directory(temporary.path() / "videos/a.mp4");
  CHECK_THAT(files_differ(record, temporary.path(), false), Contains("no file"));
}
