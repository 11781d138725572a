// What processes leave in an output folder for others: an owner's file, events, the manifest, deaths, a
// --fresh run's name, a record. Whatever stands in them, `status` shows something, and nothing refuses.

#include "fuzz.h"
#include "jobs/claims.h"
#include "jobs/events.h"
#include "jobs/run_metrics.h"
#include "jobs/status.h"

using namespace rushes;

namespace {

/// A folder that is used again for every input.
struct Place {
  fuzz::Scratch scratch;
  OutputFolder folder = OutputFolder::create(scratch.path());
  WorkPlace work{folder, "host-01234567.1.1"};
  OwnerWatch watch{folder.owners()};
  Claims claims{folder, work, "host-01234567.1.1", watch};

  void write(const std::filesystem::path& path, const std::string& text) const {
    scratch.write(std::filesystem::relative(path, scratch.path()).string(), text);
  }
};

void hold_owner(const std::string& text) {
  const auto status = owner_status_from(text);
  if (!status) return;
  const std::string written = to_json(*status).dump();
  if (written.size() >= 1000) return;  // longer than an owner's file, which is cut
  const auto again = owner_status_from(written);
  fuzz::hold(again && to_json(*again) == to_json(*status), "an owner's status survives being written", text);
  for (const size_t columns : {0, 7, 80})
    owner_line(*status, columns);
}

}  // namespace

/// Six files, apart by NUL.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Place place;
  const std::vector<std::string> files = fuzz::files_in(fuzz::text_of(data, size), 6);
  const OutputFolder& folder = place.folder;
  place.write(folder.owner("far-89abcdef.7.8"), files[0]);
  place.write(folder.events(), files[1]);
  place.write(folder.manifest(), files[2]);
  place.write(folder.deaths() / "a.json", files[3]);
  place.write(folder.fresh(), files[4]);
  place.write(folder.record("a"), files[5]);

  hold_owner(files[0]);
  if (const Deaths deaths = place.claims.deaths("a"); !deaths.memory.is_null())
    place.claims.note_memory("a", deaths.memory);
  if (!files[1].empty()) {
    MetricsFile metrics(folder, place.work, "", {.run = "run-1", .model = "m"});
    read_events(folder.events(), 0, [&](const nlohmann::json& event) { metrics.take_event(event); });
    metrics.end(1, 0, 0, 0);
  }
  StatusReader reader(folder.root());
  for (int looks = 0; looks < 2; ++looks) {
    const StatusReport report = reader.look();
    fuzz::hold(report.view.done + report.view.failed <= report.view.total, "no more items than there are");
    fuzz::hold(!status_text(report, folder.root(), 80).empty(), "status says something");
    draw(report.view, 80, 5);
  }
  return 0;
}
