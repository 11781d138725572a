#include "jobs/run_metrics.h"

#include "jobs/contact_sheet.h"
#include "jobs/events.h"
#include "run_support.h"

using namespace rushes;
using namespace rushes::test;
namespace fs = std::filesystem;

namespace {

/// The value of a sample, by its name and a part of its labels.
double value_of(const std::string& text, const std::string& name, const std::string& label = "") {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + "{") && line.find(label) != std::string::npos)
      return std::stod(line.substr(line.rfind(' ')));
  }
  FAIL("no " << name << " in\n" << text);
  return 0;
}

nlohmann::json event(const std::string& name, const std::string& id, const std::string& time,
                     const nlohmann::json& more = {{"x", 0}}, const std::string& run = "run-1") {
  nlohmann::json event = {
      {"event", name}, {"id", id}, {"run", run}, {"time", "2026-11-21T09:30:" + time + "Z"}};
  event.update(more);
  return event;
}

}  // namespace

TEST_CASE("exposition: labels are escaped, the exit code comes at the end only") {
  RunFigures figures;
  figures.job = "a \"job\" \\ of\ntwo lines";
  figures.left = 3;
  figures.running = 1;
  figures.ranks = 4;
  figures.seconds = 1800;
  figures.made = 10;
  figures.busy_seconds = 3600;
  const std::string text = exposition(figures);
  CHECK(text.find("job=\"a \\\"job\\\" \\\\ of\\ntwo lines\"") != std::string::npos);
  CHECK(text.find("rushes_exit_code") == std::string::npos);
  CHECK(value_of(text, "rushes_queue_clips") == 2);
  CHECK(value_of(text, "rushes_clips_per_device_hour") == Approx(5));
  CHECK(value_of(text, "rushes_busy_share") == Approx(0.5));
  figures.exit_code = 75;
  CHECK(value_of(exposition(figures), "rushes_exit_code") == 75);
}

TEST_CASE("metrics: this run's events count, written by rename, at the end too") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path() / "some job");
  const WorkPlace work(folder, "token");
  const EventLog log(folder.events(), 0, "run-0");
  for (int i = 0; i < 3; ++i)  // two earlier starts and this one
    log.add("run_started", {{"text", std::string(700'000, 'x')}});
  MetricsFile metrics(folder, work, "", {.run = "run-1", .model = "wan", .ranks = 4, .ranks_of_a_clip = 2});
  metrics.take_event(event("item_started", "a", "00.000"));
  metrics.take_event(event("item_started", "b", "00.000"));
  metrics.take_event(event("item_done", "a", "09.000", {{"seconds", 4.5}}));
  metrics.take_event(event("item_failed", "b", "02.500"));
  metrics.take_event(event("item_done", "c", "09.000", {{"seconds", 100}}, "run-2"));
  metrics.update(7, 1, 10);
  const fs::path path = folder.root() / "metrics.prom";
  const std::string text = slurp(path);
  CHECK(text.find("job=\"some job\",model=\"wan\"") != std::string::npos);
  CHECK(value_of(text, "rushes_clips", "state=\"done\"") == 7);
  CHECK(value_of(text, "rushes_clips", "state=\"failed\"") == 1);
  CHECK(value_of(text, "rushes_clips", "state=\"left\"") == 2);
  CHECK(value_of(text, "rushes_clips_made_total") == 1);
  CHECK(value_of(text, "rushes_clip_seconds_sum") == Approx(4.5));
  CHECK(value_of(text, "rushes_restarts") == 2);
  CHECK(value_of(text, "rushes_ranks") == 4);
  metrics.update(9, 1, 10);  // not yet time
  CHECK(slurp(path) == text);
  metrics.end(9, 1, 0, 4);
  CHECK(value_of(slurp(path), "rushes_clips", "state=\"done\"") == 9);
  CHECK(value_of(slurp(path), "rushes_exit_code") == 4);
  CHECK(files_below(folder.root()) == std::vector<std::string>{"events.jsonl", "metrics.prom"});
}

TEST_CASE("metrics: another place, a folder there, and one that cannot be written") {
  const TemporaryFolder temporary;
  const OutputFolder folder = OutputFolder::create(temporary.path() / "out");
  const WorkPlace work(folder, "token");
  CHECK(metrics_path("", folder) == folder.root() / "metrics.prom");
  CHECK(metrics_path("/x/y.prom", folder) == "/x/y.prom");
  CHECK(metrics_path("/x/textfile", folder) == "/x/textfile/rushes-out.prom");
  const fs::path elsewhere = temporary.path() / "textfile";
  {
    MetricsFile nowhere(folder, work, elsewhere.string(), {.run = "run-1", .model = "wan"});
    nowhere.end(1, 0, 0, 0);  // a warning, and no folder made
    CHECK(!fs::exists(elsewhere));
  }
  fs::create_directory(elsewhere);
  MetricsFile metrics(folder, work, elsewhere.string(), {.run = "run-1", .model = "wan"});
  metrics.end(1, 0, 0, 0);
  CHECK(files_below(elsewhere) == std::vector<std::string>{"rushes-out.prom"});
}

TEST_CASE("contact sheet: items are spread evenly, first and last among them") {
  CHECK(spread_evenly(0, 60).empty());
  CHECK(spread_evenly(1, 60) == std::vector<size_t>{0});
  CHECK(spread_evenly(5, 60) == std::vector<size_t>{0, 1, 2, 3, 4});
  CHECK(spread_evenly(5, 1) == std::vector<size_t>{0});
  CHECK(spread_evenly(9, 3) == std::vector<size_t>{0, 4, 8});
  const std::vector<size_t> many = spread_evenly(1'000'000, 60);
  CHECK(many.size() == 60);
  CHECK(many.front() == 0);
  CHECK(many.back() == 999'999);
  for (size_t i = 1; i < many.size(); ++i)
    CHECK(many[i] - many[i - 1] - 16'949 <= 1);
}
