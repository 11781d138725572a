#pragma once
// A rank without a model: its pipeline makes clips of one colour, over a folder of the test's.

#include "jobs/runner.h"  // before Catch: torch has a CHECK too

#include "run_support.h"

namespace rushes::test {

namespace fs = std::filesystem;

inline std::string text_of(MemoryRung rung) {
  return str(rung.tiles ? "tiles" : "whole", rung.offload ? ", offload" : "");
}

/// Clips of one grey, `darkest` and the seed; `before` may fail, stop or die.
class FakePipeline : public Pipeline {
 public:
  std::function<void(const Request&)> before = [](const Request&) {};
  std::vector<std::string> prompts;
  std::vector<std::string> rungs;  // of each: text_of()
  int64_t darkest = 10;

  Clip run(const Request& request, const RunContext& context) override {
    prompts.push_back(request.prompt);
    rungs.push_back(text_of(context.memory));
    context.observer->on_stage("denoising");
    context.observer->on_step(0, 1, 0.01);
    before(request);
    context.stop.check("the step");
    Clip clip;
    clip.latents = at::full({1, 4, 1, 2, 2}, static_cast<double>(request.sampling.seed));
    clip.frames.count = request.sampling.num_frames;
    clip.frames.height = request.sampling.height;
    clip.frames.width = request.sampling.width;
    clip.frames.rgb.assign(
        static_cast<size_t>(clip.frames.count * clip.frames.height * clip.frames.width * 3),
        static_cast<uint8_t>(darkest + request.sampling.seed % 200));
    clip.times = {{"denoising", 0.01}};
    return clip;
  }
};

/// All that a rank needs, over a folder of the test's.
struct Rank {
  Rank(const fs::path& root, ResolvedJob& resolved, const std::string& run = "run-1", bool fresh = false)
      : job(resolved),
        folder(OutputFolder::create(root)),
        owner(folder.owners(), status_of(this_process().token()), 0.05),
        work(folder, owner.token()),
        watch(folder.owners()),
        claims(folder, work, owner.token(), watch),
        events(folder.events(), 0, run),
        publisher(job, folder, work, claims, events, {run, 0, "host", "", "1 rank", 1, "cpu", fresh}),
        writer(publisher, owner, folder) {
    rules.run = run;
    rules.retries = job.job.retries;
    rules.fresh = fresh;
  }
  ~Rank() { claims.release_all(); }
  std::string go(Round round = Round::ordinary) {
    std::vector<std::string> warnings;
    if (!runner) {
      ledger = read_ledger(job, folder, rules, warnings);
      order.emplace(job.items, ledger, "digest");
      reset_front(folder, *order, claims);
      runner.emplace(RunnerParts{job, pipeline, folder, claims, owner, publisher, writer, events, nullptr,
                                 stop, crew, rules, *order, clock});
    }
    return runner->work(round);
  }
  ItemRecord record(const std::string& id) { return record_from(slurp(folder.record(id)), id); }
  ItemState state(size_t index) {
    std::vector<std::string> warnings;
    return look_up(job, job.items[index], folder, rules, warnings).state;
  }

  ResolvedJob& job;
  OutputFolder folder;
  Owner owner;
  WorkPlace work;
  OwnerWatch watch;
  Claims claims;
  EventLog events;
  Publisher publisher;
  Writer writer;
  FakePipeline pipeline;
  StopToken stop;
  Comm lone;
  CommWatch patience;
  std::unique_ptr<World> world = make_single_world();
  Crew crew{lone, patience, *world};
  LedgerRules rules;
  SteadyClock clock;
  std::vector<LedgerEntry> ledger;
  std::optional<WorkOrder> order;
  std::optional<Runner> runner;
};

inline ResolvedJob job_of(const std::vector<Item>& items,
                          std::vector<std::string> save = {"video", "latents", "frames"}) {
  ResolvedJob job;
  job.items = items;
  job.job.save = std::move(save);
  job.job.retries = 2;
  return job;
}

inline int count_events(const OutputFolder& folder, const std::string& name, const std::string& id) {
  int count = 0;
  read_events(folder.events(), 0, [&](const nlohmann::json& event) {
    count += event.value("event", "") == name && event.value("id", "") == id;
  });
  return count;
}

}  // namespace rushes::test
