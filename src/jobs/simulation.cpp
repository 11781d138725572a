#include "jobs/simulation.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>

#include "base/file.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/timer.h"
#include "base/virtual_time.h"
#include "jobs/clusters.h"
#include "jobs/preparation.h"
#include "jobs/runner.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr double kMostDeathsAClip = 5;
constexpr double kItemBytes = 16384;  // of a folder: a record and events
constexpr double kBeatSeconds = 10;   // of a simulated heartbeat; an OwnerWatch's patience is three of them

using Random = std::mt19937_64;

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * (std::isfinite(share) ? share : 1));
  return text;
}

/// "0.73 s", "12.4 min", "5.21 h"
std::string span(double seconds) {
  char text[32];
  const bool minutes = seconds >= 60, hours = seconds >= 2 * 3600;
  std::snprintf(text, sizeof text,
                hours     ? "%.2f h"
                : minutes ? "%.1f min"
                          : "%.2f s",
                seconds / (hours     ? 3600
                           : minutes ? 60
                                     : 1));
  return text;
}

struct Rule {
  const char* name;
  double SimulationRules::*value;
  double least, most;
};
constexpr Rule kRules[] = {
    {"stragglers", &SimulationRules::stragglers, 0, 1},
    {"slowdown", &SimulationRules::slowdown, 1, 1000},
    {"spread", &SimulationRules::spread, 0, 2},
    {"deaths", &SimulationRules::deaths_per_hour, 0, 3600},
    {"restart", &SimulationRules::restart_seconds, 0, 1e6},
    {"failing", &SimulationRules::failing, 0, 1},
};

enum class Doing { clip, failing_clip, lost_clip, loading, down, idle };

/// What the replicas did, written down by whoever has the turn.
struct Books {
  struct Entry {
    Doing doing;
    size_t replica;
    double begin, end;
    size_t item;  // of a clip's
  };
  std::vector<bool> failing;     // items that cannot be made
  std::vector<double> seconds;   // of each item on a replica that is not slow
  std::vector<double> slowness;  // of each replica
  std::vector<Entry> entries;
  int64_t deaths = 0;

  void add(Doing doing, size_t replica, double begin, double end, size_t item = 0) {
    if (end > begin) entries.push_back({doing, replica, begin, end, item});
  }
};

/// What all replicas share.
struct Stage {
  const ResolvedJob& job;
  const SimulatedTimes& times;
  const SimulationRules& rules;
  const OutputFolder& folder;
  const WorkOrder& order;
  const StopToken& stop;
  VirtualTime& time;
  Books& books;
};

/// The time of one process, which ends at a moment that it does not know.
class MortalClock : public Clock {
 public:
  MortalClock(const Stage& stage, double dies, size_t replica)
      : stage_(stage), dies_(dies), replica_(replica) {}
  double now() const override { return stage_.time.now(); }
  void sleep(double seconds, const StopToken&) const override { spend(seconds, Doing::idle, Doing::idle); }
  /// Lets time pass, with a heartbeat now and then. Throws ProcessDied.
  void spend(double seconds, Doing doing, Doing where_it_dies, size_t item = 0) const {
    const double begin = now(), end = begin + seconds;
    while (now() < end) {
      stage_.stop.check("the end of the simulation");
      stage_.time.sleep(std::min({end, dies_, now() + kBeatSeconds}) - now());
      if (now() >= dies_) {
        stage_.books.add(where_it_dies, replica_, begin, now(), item);
        throw ProcessDied();
      }
      if (owner != nullptr) owner->announce([](OwnerStatus&) {});
    }
    stage_.books.add(doing, replica_, begin, now(), item);
  }
  Owner* owner = nullptr;

 private:
  const Stage& stage_;
  double dies_;
  size_t replica_;
};

/// Takes as long as a clip would.
class IdlePipeline : public Pipeline {
 public:
  IdlePipeline(const Stage& stage, const MortalClock& clock, size_t replica)
      : stage_(stage), clock_(clock), replica_(replica) {}

  Clip run(const Request& request, const RunContext& context) override {
    const auto index = static_cast<size_t>(request.sampling.seed);  // see simulated_job()
    Books& books = stage_.books;
    context.observer->on_stage("denoising");
    const double begin = clock_.now();
    clock_.spend(books.seconds[index] * books.slowness[replica_],
                 books.failing[index] ? Doing::failing_clip : Doing::clip, Doing::lost_clip, index);
    if (books.failing[index]) fail("this item cannot be made (a simulated failure)");
    Clip clip;
    clip.times = {{"denoising", clock_.now() - begin}};
    return clip;
  }

 private:
  const Stage& stage_;
  const MortalClock& clock_;
  size_t replica_;
};

/// One process of a replica, from its start to its end or death. A dead one's files stay as they are.
struct Process {
  Process(const Stage& stage, const std::string& token, double dies, size_t replica)
      : clock(stage, dies, replica),
        owner(stage.folder.owners(), first(token, replica), /*period=*/0),
        work(stage.folder, token),
        watch(stage.folder.owners(), 3 * kBeatSeconds, [this] { return clock.now(); }),
        claims(stage.folder, work, token, watch),
        events(stage.folder.events(), static_cast<int>(replica), "simulation"),
        publisher(stage.job, stage.folder, work, claims, events,
                  {"simulation", static_cast<int>(replica), "simulated", "", stage.times.layout, 1, "none"}),
        writer(publisher, owner, stage.folder, /*waiting=*/0),
        pipeline(stage, clock, replica),
        runner({stage.job, pipeline, stage.folder, claims, owner, publisher, writer, events, nullptr,
                stage.stop, crew, LedgerRules{.run = "simulation", .retries = stage.job.job.retries},
                stage.order, clock, replica, stage.books.slowness.size()}) {
    clock.owner = &owner;
  }
  static OwnerStatus first(const std::string& token, size_t replica) {
    OwnerStatus status;
    status.token = token;
    status.run = "simulation";
    status.rank = static_cast<int>(replica);
    return status;
  }

  MortalClock clock;
  Owner owner;
  WorkPlace work;
  OwnerWatch watch;
  Claims claims;
  EventLog events;
  Publisher publisher;
  Writer writer;
  IdlePipeline pipeline;
  Comm alone;
  CommWatch patience;
  std::unique_ptr<World> world = make_single_world();
  Crew crew{alone, patience, *world};
  Runner runner;
};

/// A replica's processes, one after the other, until one of them comes to the end. The dead go to `graves`.
void live(const Stage& stage, size_t replica, std::vector<std::unique_ptr<Process>>& graves) {
  Random random(static_cast<uint64_t>(stage.rules.seed) * 7919 + replica + 1);
  std::exponential_distribution<double> hours(std::max(stage.rules.deaths_per_hour, 1e-9));
  for (int64_t start = 1;; ++start) {
    const double begin = stage.time.now();
    const double dies = begin + 3600 * hours(random);
    auto process = std::make_unique<Process>(
        stage, str("replica-", replica, "-simulated.", replica + 1, ".", start), dies, replica);
    try {
      process->clock.spend(stage.times.load, Doing::loading, Doing::loading);
      for (const Round round : {Round::ordinary, Round::last_chance}) {
        const std::string trouble = process->runner.work(round);
        if (!trouble.empty()) fail("the simulation's own folder: ", trouble);
      }
      process->claims.release_all();
      return;
    } catch (const ProcessDied&) {
      ++stage.books.deaths;
      graves.push_back(std::move(process));
    }
    const double died = stage.time.now();
    stage.time.sleep(stage.rules.restart_seconds);
    stage.books.add(Doing::down, replica, died, stage.time.now());
  }
}

/// A process that seldom lives as long as a clip takes would go on for ever.
void check_it_ends(const SimulatedTimes& times, const SimulationRules& rules) {
  double longest = 0;
  for (const double seconds : times.items)
    longest = std::max(longest, seconds);
  const double life = times.load + longest * (rules.stragglers > 0 ? rules.slowdown : 1);
  if (life * rules.deaths_per_hour / 3600 <= kMostDeathsAClip) return;
  fail("--with deaths=", rules.deaths_per_hour, ": a replica would die ", life * rules.deaths_per_hour / 3600,
       " times in the ", span(life),
       " that reading the weights and the longest clip take on the slowest; give ",
       "fewer deaths, shorter clips or a smaller slowdown");
}

/// The job's items, each with its number as its seed, and nothing to write but records; no device is used.
ResolvedJob simulated_job(const ResolvedJob& job) {
  ResolvedJob simulated = job;
  simulated.options.device = at::kCPU;
  simulated.job.save.clear();
  for (size_t index = 0; index < simulated.items.size(); ++index) {
    Item& item = simulated.items[index];
    item.sampling.seed = static_cast<int64_t>(index);
    item.request_hash = hash_bytes(str("simulated ", index));
  }
  return simulated;
}

void count_items(const ResolvedJob& job, const OutputFolder& folder, SimulationReport& report) {
  std::vector<std::string> warnings;
  LedgerRules rules{.run = "simulation", .retries = job.job.retries};
  for (const LedgerEntry& entry : read_ledger(job, folder, rules, warnings)) {
    ++(entry.state == ItemState::done     ? report.done
       : entry.state == ItemState::failed ? report.failed
                                          : report.left);
  }
  std::map<std::string, int64_t> published;
  read_events(folder.events(), 0, [&](const nlohmann::json& event) {
    const std::string kind = event.value("event", "");
    if (kind == "item_done" || kind == "item_failed") ++published[event.value("id", "")];
  });
  for (const auto& [id, count] : published)
    report.twice += count > 1 ? 1 : 0;
}

/// Adds up what the replicas did until the last item was settled.
void add_up(const Books& books, SimulationReport& report) {
  std::vector<double> last_work(books.slowness.size());
  std::vector<int> made(books.failing.size());
  for (const Books::Entry& entry : books.entries) {
    const bool whole = entry.doing == Doing::clip || entry.doing == Doing::failing_clip;
    if (whole) report.seconds = std::max(report.seconds, entry.end);
    if (whole && ++made[entry.item] == 2) ++report.twice;
    if (whole || entry.doing == Doing::lost_clip) {
      last_work[entry.replica] = std::max(last_work[entry.replica], entry.end);
      ++report.begun;
    }
  }
  for (const Books::Entry& entry : books.entries) {
    const double seconds = std::max(0.0, std::min(entry.end, report.seconds) - entry.begin);
    const bool tail = entry.begin >= last_work[entry.replica];
    (entry.doing == Doing::clip           ? report.useful
     : entry.doing == Doing::failing_clip ? report.failing
     : entry.doing == Doing::lost_clip    ? report.lost
     : entry.doing == Doing::loading      ? report.loading
     : entry.doing == Doing::down         ? report.down
     : tail                               ? report.tail
                                          : report.waiting) += seconds;
  }
  report.deaths = books.deaths;
}

double floor_of(const Stage& stage) {
  double work = 0, longest = 0, speed = 0;
  for (const double seconds : stage.books.seconds) {
    work += seconds;
    longest = std::max(longest, seconds);
  }
  for (const double slowness : stage.books.slowness)
    speed += 1 / slowness;
  return stage.times.load + std::max(work / speed, longest);
}

/// In memory where the machine has a place for that: records are synced, which a disk takes its time for.
struct OwnFolder {
  explicit OwnFolder(size_t items) {
    const fs::path shared = "/dev/shm";
    struct statvfs info {};
    const bool memory = ::statvfs(shared.c_str(), &info) == 0 && ::access(shared.c_str(), W_OK) == 0 &&
                        static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize) >
                            kItemBytes * static_cast<double>(items + 1000);
    std::string name = ((memory ? shared : fs::temp_directory_path()) / "rushes-simulation-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) fail("cannot make a folder like ", name, ": ", std::strerror(errno));
    path = name;
  }
  ~OwnFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  fs::path path;
};

}  // namespace

void set_rule(SimulationRules& rules, const std::string& text, Problems& problems) {
  const size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const std::string given = equals == std::string::npos ? "" : text.substr(equals + 1);
  std::vector<std::string> names = {"seed"};
  for (const Rule& rule : kRules)
    names.emplace_back(rule.name);
  double value = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
  const bool number = error == std::errc() && end == given.data() + given.size() && std::isfinite(value);
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    return problems.add("--with ", shortened(text, 60), ": must be one of ", join(names, ", "),
                        " with =NUMBER", did_you_mean(name, names));
  }
  if (name == "seed") {
    if (!number || value < 0 || value > 1e9 || value != std::floor(value))
      return problems.add("--with ", shortened(text, 60), ": must be a whole number from 0 to 1e9");
    rules.seed = static_cast<int64_t>(value);
    return;
  }
  for (const Rule& rule : kRules) {
    if (name != rule.name) continue;
    if (!number || value < rule.least || value > rule.most)
      return problems.add("--with ", shortened(text, 60), ": must be a number from ", rule.least, " to ",
                          rule.most);
    rules.*rule.value = value;
  }
}

SimulatedTimes predicted_times(const ResolvedJob& job, const SimulationRules& rules, const Cluster& cluster) {
  Parallel parallel = job.job.parallel;
  if (parallel.dp && *parallel.dp != rules.replicas)
    fail("parallel: dp is ", *parallel.dp, ", and --simulate ", rules.replicas, " replicas are asked for");
  for (auto* axis : {&parallel.cfg, &parallel.sp, &parallel.ring, &parallel.dit_tp})
    *axis = axis->value_or(1);
  parallel.dp = rules.replicas;
  const int64_t world = rules.replicas * *parallel.cfg * *parallel.sp * *parallel.dit_tp;
  const std::vector<ClipGroup> groups = clip_groups(job.items);
  const PlanAnswer answer = choose_plan({.blueprint = *job.blueprint,
                                         .options = job.options,
                                         .clips = groups,
                                         .world = world,
                                         .parallel = parallel,
                                         .cluster = cluster});
  if (answer.best.empty()) fail(answer.why);
  const ParallelPlan& plan = answer.best[0].plan;
  const Split split{.cfg = plan.cfg(),
                    .ulysses = plan.ulysses(),
                    .ring = plan.ring(),
                    .dit_tp = plan.dit_tp(),
                    .tp = plan.tp(),
                    .vae = plan.vae()};
  SimulatedTimes times;
  std::map<std::string, double> seconds;
  for (const ClipGroup& group : groups) {
    const Prediction prediction = predict(job.blueprint->cost(group.sampling, job.options, split), split,
                                          cluster.for_ranks(world), world);
    seconds[cost_key(group.sampling)] = prediction.seconds;
    times.load = std::max(times.load, prediction.load_seconds);
  }
  for (const Item& item : job.items)
    times.items.push_back(seconds.at(cost_key(item.sampling)));
  times.layout = str(plan.replica(), plan.replica() == 1 ? " rank" : " ranks", " of ", cluster.name);
  return times;
}

SimulationReport simulate(const ResolvedJob& job, const SimulatedTimes& times, const SimulationRules& rules,
                          const std::filesystem::path& root, const StopToken& stop) {
  RUSHES_CHECK(times.items.size() == job.items.size(), times.items.size(), " times, ", job.items.size(),
               " items");
  const Timer timer;
  check_it_ends(times, rules);
  const ResolvedJob simulated = simulated_job(job);
  const OutputFolder folder = OutputFolder::create(root);
  const std::vector<LedgerEntry> ledger(job.items.size());
  const WorkOrder order(simulated.items, ledger, digest_of(simulated));
  const auto replicas = static_cast<size_t>(rules.replicas);
  Books books;
  Random random(static_cast<uint64_t>(rules.seed));
  std::uniform_real_distribution<double> chance;
  for (size_t replica = 0; replica < replicas; ++replica)
    books.slowness.push_back(chance(random) < rules.stragglers ? rules.slowdown : 1);
  for (size_t index = 0; index < job.items.size(); ++index)
    books.failing.push_back(chance(random) < rules.failing);
  std::normal_distribution<double> noise;
  for (const double seconds : times.items)
    books.seconds.push_back(seconds * std::exp(noise(random) * rules.spread));
  VirtualTime time;
  const Stage stage{simulated, times, rules, folder, order, stop, time, books};
  {
    std::vector<std::unique_ptr<Process>> graves;
    std::vector<std::function<void()>> functions;
    for (size_t replica = 0; replica < replicas; ++replica)
      functions.emplace_back([&stage, &graves, replica] { live(stage, replica, graves); });
    time.run(functions);
  }
  stop.check("the end of the simulation");
  SimulationReport report;
  report.items = static_cast<int64_t>(job.items.size());
  report.floor = floor_of(stage);
  add_up(books, report);
  count_items(simulated, folder, report);
  report.wall_seconds = timer.seconds();
  return report;
}

int simulate_job(const std::filesystem::path& file, const JobOverrides& overrides,
                 const std::optional<Cluster>& cluster, const SimulationRules& rules, const StopToken& stop,
                 std::ostream& out) {
  const ResolvedJob job = load_job(file, overrides);
  const bool cuda = job.options.device.is_cuda();
  const SimulatedTimes times = predicted_times(
      job, rules, cluster ? *cluster : local_cluster(cuda ? DeviceKind::cuda : DeviceKind::cpu));
  const OwnFolder folder(job.items.size());
  const SimulationReport report = simulate(job, times, rules, folder.path, stop);
  for (const std::string& line : report_lines(report, times, rules))
    out << line << "\n";
  if (report.whole()) return kExitDone;
  throw InternalError(
      str("of ", report.items, " items ", report.left, " were left and ", report.twice, " were made twice"));
}

std::vector<std::string> report_lines(const SimulationReport& report, const SimulatedTimes& times,
                                      const SimulationRules& rules) {
  const double all = report.seconds * static_cast<double>(rules.replicas);
  const auto part = [&](const char* what, double seconds) {
    char text[96];
    std::snprintf(text, sizeof text, "  %-34s %9s  %5.1f %%", what, span(seconds).c_str(),
                  all > 0 ? 100 * seconds / all : 0);
    return std::string(text);
  };
  const auto [shortest, longest] = std::minmax_element(times.items.begin(), times.items.end());
  std::vector<std::string> lines = {
      str(report.items, " items by ", rules.replicas, " replicas of ", times.layout),
      times.items.empty() ? ""
                          : str("  clips of ", span(*shortest), " to ", span(*longest), ", weights read in ",
                                span(times.load)),
      str("  rules: stragglers=", rules.stragglers, " slowdown=", rules.slowdown, " spread=", rules.spread,
          " deaths=", rules.deaths_per_hour, " restart=", rules.restart_seconds, " failing=", rules.failing,
          " seed=", rules.seed),
      str("items: ", report.done, " done, ", report.failed, " failed, ", report.left, " left, ", report.twice,
          " made twice; ", report.begun, " tries, ", report.deaths, " deaths"),
      str("time: ", span(report.seconds), ", of which a perfect run needs ", span(report.floor), " (",
          percent(report.floor / report.seconds), ")"),
      str("efficiency: ", percent(report.efficiency(rules.replicas)), " of the replicas' time makes clips"),
      str("replicas' time:"),
      part("making clips", report.useful),
      part("trying what cannot be made", report.failing),
      part("lost with the dying", report.lost),
      part("reading weights", report.loading),
      part("down until a restart", report.down),
      part("waiting before the tail", report.waiting),
      part("idle in the tail", report.tail),
  };
  return lines;
}

}  // namespace rushes
