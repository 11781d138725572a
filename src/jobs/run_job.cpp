#include "jobs/run_job.h"

#include <algorithm>
#include <iostream>

#include "base/env.h"
#include "base/log.h"
#include "base/timer.h"
#include "base/version.h"
#include "device/device.h"
#include "dist/groups.h"
#include "dist/nccl/nccl_transport.h"
#include "jobs/clusters.h"
#include "jobs/embedding_store.h"
#include "jobs/events.h"
#include "jobs/guarded.h"
#include "jobs/preparation.h"
#include "jobs/progress.h"
#include "jobs/regress.h"
#include "jobs/resolution.h"
#include "jobs/run_ending.h"
#include "jobs/runner.h"
#include "jobs/watchdog.h"
#include "pipelines/stages/denoising.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

/// One rank's way through a job. Ranks meet in agree() and broadcast() only, always the same ones in the same
/// order, whatever happens in between.
class JobRun {
 public:
  JobRun(World& world, const RunRequest& request, StopToken& stop)
      : world_(world), request_(request), stop_(stop) {}
  int run();

 private:
  int fetch_model(JobOverrides& overrides);
  bool load();
  bool begin();
  void form_groups();
  bool load_pipeline();
  void work();
  int finish();

  RunEnding ending();
  /// That this rank belongs to; negative where it idles.
  int64_t replica() const { return groups_ ? groups_->seat.replica : plan_->replica_of(world_.rank()); }

  World& world_;
  const RunRequest& request_;
  StopToken& stop_;
  const Timer timer_;
  ResolvedJob job_;
  std::optional<ParallelPlan> plan_;
  int threads_ = 1;
  Start start_;
  LedgerRules rules_;
  std::shared_ptr<CommWatch> watch_ = std::make_shared<CommWatch>();
  std::optional<Comm> host_;      // all ranks, where there are several
  Comm replica_;                  // the ranks that make a clip with this one, in host memory
  std::optional<Groups> groups_;  // where a clip has more than one rank
  std::optional<WorkOrder> order_;
  SteadyClock clock_;
  TimeLimit limit_;
  WatchRules watching_;
  std::optional<OutputFolder> folder_;
  std::unique_ptr<Residence> residence_;
  std::unique_ptr<OwnerWatch> owners_;
  std::optional<EventLog> events_;
  std::optional<MetricsFile> metrics_;                     // of rank 0
  std::map<std::string, fs::file_time_type> kept_before_;  // checkpoints when the run began; of rank 0
  std::unique_ptr<DiskEmbeddingStore> embeddings_;
  std::unique_ptr<NodeMemory> node_memory_;
  std::unique_ptr<Pipeline> pipeline_;
  std::string trouble_;
};

int JobRun::run() {
  if (!load()) return start_.code;
  if (!begin()) return start_.code;
  if (!load_pipeline()) {
    if (world_.rank() == 0) ending().unbegun(start_.code);
    return start_.code;
  }
  work();
  return finish();
}

/// Rank 0 asks the Hub what the job's model is, so that all ranks make clips of the same weights; the others
/// find it in the cache, or where theirs is another one, one of them fetches it.
int JobRun::fetch_model(JobOverrides& overrides) {
  overrides.stop = &stop_;
  overrides.quiet = world_.rank() != 0;
  int code = kExitDone;
  if (world_.rank() == 0) code = guarded([&] { fetch_job_model(request_.job_file, overrides); });
  const nlohmann::json told = nlohmann::json::parse(world_.broadcast(nlohmann::json{
      {"code", code},
      {"commit", overrides.model_commit},
      {"failed", !overrides.model_problems.empty()}}.dump()));
  overrides.model_commit = told.at("commit").get<std::string>();
  if (world_.rank() != 0 && told.at("failed").get<bool>()) overrides.model_problems = {"see rank 0"};
  return told.at("code").get<int>();
}

/// A layout of several ranks was refused, and srun started more than one.
void tell_why_alone(const World& world, const std::vector<std::string>& problems) {
  const std::string tasks = env(EnvVar::slurm_step_num_tasks);
  const bool layout = std::any_of(problems.begin(), problems.end(), [](const std::string& problem) {
    return problem.find("parallel") != std::string::npos;
  });
  if (world.size() > 1 || !layout || tasks.empty() || tasks == "1") return;
  log_error("srun started ", tasks,
            " tasks that do not know each other, each of them a world of one rank: for "
            "clips over several ranks start them by srun --mpi=pmix or by mpirun");
}

/// Every rank reads the job by itself; rank 0's word decides, and the others must have read the same.
bool JobRun::load() {
  JobOverrides overrides = request_.overrides;
  if (overrides.date.empty()) overrides.date = world_.broadcast(utc_now().substr(0, 10));
  overrides.ranks = world_.size();
  std::vector<std::string> problems;
  int code = fetch_model(overrides);
  if (code != kExitDone) {
    if (code == kExitStopped && world_.rank() == 0)
      log_warning("stopped while fetching the model; what has come is kept: run the same command again");
    start_.code = code;
    return false;
  }
  try {
    threads_ = threads_of(world_.place());
    set_threads(threads_);
    watch_->timeout_seconds = rank_timeout();
    DenoisingStage::trade_pieces(at::kCPU);  // what it refuses is told before any clip
    // Later than the ranks of a clip miss each other, which they can say more of.
    watching_ = {.hang_seconds = 1.25 * watch_->timeout_seconds + 5, .grace_seconds = grace_seconds()};
    job_ = load_job(request_.job_file, overrides);
    if (job_.options.device.is_cuda())
      job_.options.device = pick_device(job_.job.device, world_.place().local_rank);
    folder_ = OutputFolder::view(job_.job.output);
    watching_.busy_is_alive = job_.options.device.is_cpu();
  } catch (const UserError& error) {
    problems = error.problems();
    code = kExitUsage;
  } catch (const StoppedEarly& stopped) {
    log_warning(stopped.what());
    code = kExitStopped;
  }
  if (world_.rank() == 0) {
    for (const std::string& problem : problems)
      log_error(problem);
    tell_why_alone(world_, problems);
    if (code == kExitDone) {
      code = guarded([&] {
        const Parallel layout = chosen_layout(job_, world_.size());
        const std::optional<double> end = end_time();
        start_ = prepare(world_, job_, request_, residence_);
        start_.layout = layout;
        if (end) start_.seconds = std::max(1.0, *end - static_cast<double>(::time(nullptr)));
      });
    }
    start_.code = code;
  }
  start_ = start_from(world_.broadcast(start_text(start_)));
  if (start_.code != kExitDone) return false;
  plan_ = ParallelPlan::make(start_.layout, world_.size());
  if (start_.seconds > 0) limit_ = TimeLimit(start_.seconds, stop_);
  for (const std::string& problem : problems)
    log_error("on ", world_.place().host, ": ", problem);
  if (code == kExitDone && digest_of(job_) != start_.digest) {
    log_error("on ", world_.place().host,
              ": the job reads differently here than on rank 0; do all nodes see the same ",
              "job file, prompts and model?");
    code = kExitUsage;
  }
  start_.code = world_.agree(code);
  return start_.code == kExitDone;
}

/// Moves into the output folder.
bool JobRun::begin() {
  const int code = guarded([&] {
    if (!residence_)
      residence_ = std::make_unique<Residence>(*folder_, first_status(world_, start_.run, start_.first));
    mark_crashes(residence_->owner.path());
    log_to_file((folder_->root() / "logs" / str("rank-", world_.rank(), ".log")).string());
  });
  rules_ = {start_.run, request_.fresh, request_.retry_failed, /*verify=*/false, job_.job.retries};
  events_.emplace(folder_->events(), world_.rank(), start_.run);
  order_.emplace(job_.items, start_.ledger, start_.digest);
  start_.code = world_.agree(code);
  if (start_.code != kExitDone) return false;
  if (world_.rank() == 0) {
    kept_before_ = checkpoint_times(*folder_);
    log_info(job_.items.size(), " items in ", folder_->root().string(), ": ",
             count_of(start_.ledger, ItemState::todo), " to do, ", count_of(start_.ledger, ItemState::done),
             " done, ", count_of(start_.ledger, ItemState::failed), " failed; ", plan_->text(), ", ",
             threads_, threads_ == 1 ? " thread" : " threads", " a rank, device ", job_.options.device.str(),
             limit_.set() ? ", time limit in " + short_time(start_.seconds) : std::string());
    events_->add("run_started", {{"schema", kEventsSchema},
                                 {"items", job_.items.size()},
                                 {"todo", count_of(start_.ledger, ItemState::todo)},
                                 {"done", count_of(start_.ledger, ItemState::done)},
                                 {"failed", count_of(start_.ledger, ItemState::failed)},
                                 {"world", world_.size()},
                                 {"layout", plan_->text()},
                                 {"fresh", request_.fresh},
                                 {"owner", residence_->owner.token()},
                                 {"batch_job", env(EnvVar::slurm_job_id)},
                                 {"limit", limit_.set() ? std::max(0.0, limit_.left()) : 0.0},
                                 {"code", version_text()}});
    metrics_.emplace(*folder_, residence_->work, job_.job.metrics,
                     MetricsFile::Facts{.run = start_.run,
                                        .model = model_name(job_.job.model),
                                        .ranks = world_.size(),
                                        .ranks_of_a_clip = plan_->replica()});
  }
  return true;
}

/// Who makes clips together.
void JobRun::form_groups() {
  if (world_.size() == 1) return;
  host_ = world_.comm(watch_);
  if (plan_->replica() == 1) return;
  const Comm& host = *host_;
  groups_.emplace(make_groups(*plan_, host, world_.place().nodes));
  replica_ = groups_->replica;
  if (!job_.options.device.is_cuda()) return;
  // NCCL wants a GPU a rank.
  const bool shared = world_.place().local_size > static_cast<int>(device_info().cuda.size());
  const std::vector<int64_t> sharing = host.all_gather(shared ? 1 : 0);
  if (make_nccl_transport != nullptr && std::count(sharing.begin(), sharing.end(), 1) == 0) {
    groups_.emplace(make_groups(*plan_, {make_nccl_transport(host, job_.options.device, watch_), "world"},
                                world_.place().nodes));
  } else if (world_.rank() == 0) {
    log_warning(make_nccl_transport == nullptr ? "this build has no NCCL" : "ranks share a GPU",
                ": they talk through host memory, which is slow");
  }
}

bool JobRun::load_pipeline() {
  const bool any = any_to_do(start_.ledger);
  form_groups();
  const bool idles = replica() < 0;
  PipelineOptions options = job_.options;
  if (groups_) options.groups = &*groups_;
  if (any && host_ && !options.device.is_cuda())
    node_memory_ = NodeMemory::make(make_node_group(*host_, world_.place().nodes, !idles));
  options.node_memory = node_memory_.get();
  const std::vector<int64_t> wishes = replica_.all_gather(stop_.requested() ? 1 : 0);
  if (!any || std::count(wishes.begin(), wishes.end(), 1) > 0) {
    start_.code = world_.agree(kExitDone);
    return true;
  }
  const int code = guarded([&] {
    if (idles) return;
    const Timer timer;
    const std::string cache = env(EnvVar::cache);
    embeddings_ = std::make_unique<DiskEmbeddingStore>(
        cache.empty() ? folder_->embeddings() : fs::path(cache) / "embeddings", residence_->owner.token());
    pipeline_ = options.encodes ? job_.blueprint->load_encoder(options) : job_.blueprint->load(options);
    log_debug("pipeline loaded in ", timer.seconds(), " s");
  });
  start_.code = world_.agree(code);
  return start_.code == kExitDone;
}

void JobRun::work() {
  std::unique_ptr<Progress> progress;
  if (world_.rank() == 0) {
    ProgressView view;
    if (limit_.set()) view.stop_at = static_cast<double>(::time(nullptr)) + limit_.left();
    view.total = static_cast<int64_t>(job_.items.size());
    std::vector<ManifestItem> todo;
    for (size_t i = 0; i < job_.items.size(); ++i) {
      if (start_.ledger[i].state == ItemState::done) ++view.done;
      if (start_.ledger[i].state == ItemState::failed) ++view.failed;
      if (start_.ledger[i].state != ItemState::todo) continue;
      todo.push_back({.id = job_.items[i].id, .flops = job_.items[i].flops});
      view.left_flops += job_.items[i].flops;
    }
    progress = std::make_unique<Progress>(*folder_, std::move(todo), view, start_.events, &*metrics_);
  }
  int code = kExitDone;
  owners_ = std::make_unique<OwnerWatch>(folder_->owners());
  Claims claims(*folder_, residence_->work, residence_->owner.token(), *owners_);
  if (world_.rank() == 0)
    claims.sweep();  // from here on owners on other hosts are watched, see RunEnding::sweep
  const Watchdog watchdog({world_, *folder_, claims, *events_, stop_, start_.first}, watching_);
  Publisher publisher(job_, *folder_, residence_->work, claims, *events_,
                      {start_.run, world_.rank(), world_.place().host, env(EnvVar::slurm_job_id),
                       plan_->text(), threads_, job_.options.device.str(), request_.fresh, replica()});
  std::unique_ptr<Writer> writer;
  std::unique_ptr<Runner> runner;
  const Crew crew{replica_, *watch_, world_};
  const bool follows = groups_ && groups_->seat.replica >= 0 && !groups_->leads();
  const auto ran_out = [&](const Item& item, MemoryRung memory, const std::string& asked) {
    guarded([&] { MemoryLadder(job_.job, item, claims, *events_).ran_out(memory, watch_->stage, asked); });
  };
  const auto failed = [&](const Item& item, bool waited) {
    guarded([&] { blame(item, waited, claims, *folder_, world_.rank()); });
  };
  const auto round = [&](Round kind) {
    if (!pipeline_) return;  // then no rank of the replica has one
    if (follows) return follow(crew, job_.items, *pipeline_, residence_->owner, stop_, ran_out, failed);
    if (!runner || !trouble_.empty()) return crew.dismiss();
    code = worse_exit_code(code, guarded([&] { trouble_ = runner->work(kind); }));
    if (!trouble_.empty()) log_error("cannot go on: ", trouble_);
  };
  const Checkpoints checkpoints(*folder_, residence_->work, claims, *events_,
                                {.run = start_.run,
                                 .fresh = request_.fresh,
                                 .seconds = static_cast<double>(job_.job.checkpoint_seconds),
                                 .layout = plan_->text(),
                                 .same_layout = job_.job.kind == JobKind::regress});
  if (pipeline_ && !follows) {
    code = guarded([&] {
      writer = std::make_unique<Writer>(publisher, residence_->owner, *folder_);
      runner = std::make_unique<Runner>(RunnerParts{job_, *pipeline_, *folder_, claims, residence_->owner,
                                                    publisher, *writer, *events_, embeddings_.get(), stop_,
                                                    crew, rules_, *order_, clock_,
                                                    static_cast<size_t>(std::max<int64_t>(0, replica())),
                                                    static_cast<size_t>(plan_->dp()), &checkpoints, &limit_});
    });
  }
  round(Round::ordinary);
  if (!trouble_.empty()) {
    // The others may have nothing left but what this rank has claimed: without it they would wait for ever.
    writer.reset();
    code = worse_exit_code(code, guarded([&] { claims.release_all(); }));
  }
  // Whatever dies from here on dies alone: rank 0 tries the items that have cost processes their lives, one
  // by one, while no other rank of this world has anything to lose.
  world_.agree(code);
  if (groups_ ? groups_->seat.replica == 0 : world_.rank() == 0) round(Round::last_chance);
  writer.reset();
  const bool goes_on = trouble_.empty() && !stop_.requested();  // else there may be no time, or no room
  if (pipeline_ && !follows && goes_on)
    code = worse_exit_code(code, guarded([&] { publisher.join_shards(/*all=*/true); }));
  code = worse_exit_code(code, guarded([&] { claims.release_all(); }));
  world_.agree(code);
}

/// Where `metrics_` are: on rank 0.
RunEnding JobRun::ending() {
  return RunEnding({request_, job_, start_, rules_, *folder_, *residence_, *events_, *metrics_, stop_, limit_,
                    timer_, trouble_, kept_before_});
}

/// Rank 0 looks at what is on disk and says how the run ended; all ranks leave with its word.
int JobRun::finish() {
  pipeline_.reset();
  const int code = world_.rank() == 0 ? ending().end(*owners_) : kExitDone;
  residence_.reset();
  return std::stoi(world_.broadcast(str(code)));
}

/// `--noise-floor N`: the job's clips N + 1 times, each in a folder of its own below the output.
int run_noise_floor(World& world, const RunRequest& request, StopToken& stop) {
  RunRequest rerun = request;
  rerun.noise_floor = 0;
  rerun.overrides.noise_rerun = true;
  rerun.fresh = true;  // clips of an earlier floor may be of another layout
  if (rerun.overrides.date.empty()) rerun.overrides.date = world.broadcast(utc_now().substr(0, 10));
  std::vector<fs::path> folders;
  int code = kExitDone;
  for (int64_t i = 0; i <= request.noise_floor && code == kExitDone; ++i) {
    rerun.overrides.output_suffix = str("/noise-floor/", i);
    code = JobRun(world, rerun, stop).run();
    folders.emplace_back(rerun.overrides.output_suffix);
  }
  if (code != kExitDone) return code;
  if (world.rank() == 0) {
    try {
      JobOverrides overrides = rerun.overrides;
      overrides.output_suffix.clear();
      const ResolvedJob job = load_job(rerun.job_file, overrides);
      if (job.job.kind != JobKind::regress) fail("--noise-floor goes with job: regress");
      for (fs::path& folder : folders)
        folder = job.job.output + folder.string();
      tell_noise_floor(folders, std::cout);
    } catch (const UserError& error) {
      for (const std::string& problem : error.problems())
        log_error(problem);
      code = kExitUsage;
    }
  }
  return world.agree(code);
}

}  // namespace

int run_job(World& world, const RunRequest& request, StopToken& stop) {
  if (request.noise_floor > 0) return run_noise_floor(world, request, stop);
  return JobRun(world, request, stop).run();
}

double rank_timeout() {
  const std::string asked = env(EnvVar::rank_timeout);
  if (asked.empty()) return CommWatch{}.timeout_seconds;
  const bool number = asked.size() <= 7 && asked.find_first_not_of("0123456789") == std::string::npos;
  const int seconds = number ? std::atoi(asked.c_str()) : 0;
  if (seconds < 1) fail("RUSHES_RANK_TIMEOUT is '", asked, "'; give a number of seconds, at least 1");
  return seconds;
}

int threads_of(const Place& place) {
  const std::string asked = env(EnvVar::threads);
  if (asked.empty()) return place.cores;
  const bool number = asked.size() <= 4 && asked.find_first_not_of("0123456789") == std::string::npos;
  const int threads = number ? std::atoi(asked.c_str()) : 0;
  if (threads < 1 || threads > 1024)
    fail("RUSHES_THREADS is '", asked, "'; give a number of threads from 1 to 1024");
  return threads;
}

}  // namespace rushes
