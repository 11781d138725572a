#include "planner/planner.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>
#include <optional>
#include <queue>
#include <set>
#include <tuple>

namespace rushes {
namespace {

constexpr int64_t kEveryNumberTo = 16;  // automatic factors: all small ones, then what divides the world
constexpr int64_t kMostTogether = 8;    // ranks that encode a text or decode a clip; more wait for each other
constexpr double kTie = 0.02;           // predictions this near are equal

double real(int64_t n) {
  return static_cast<double>(n);
}

std::string gib(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", bytes / (1 << 30));
  return text;
}

std::string percent(double fraction) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f %%", 100 * fraction);
  return text;
}

/// The number that was asked for, or every one worth a try up to `most`.
std::vector<int64_t> tries(std::optional<int64_t> asked, int64_t most, int64_t world) {
  if (asked) return *asked <= most ? std::vector<int64_t>{*asked} : std::vector<int64_t>{};
  std::set<int64_t> numbers;
  for (int64_t n = 1; n <= std::min(most, kEveryNumberTo); ++n)
    numbers.insert(n);
  for (int64_t n = 1; n * n <= world; ++n) {
    if (world % n != 0) continue;
    for (const int64_t divisor : {n, world / n}) {
      if (divisor <= most) numbers.insert(divisor);
    }
  }
  return {numbers.begin(), numbers.end()};
}

/// For a text encoder or a VAE in a replica: powers of two, and all of its ranks.
std::vector<int64_t> part_tries(std::optional<int64_t> asked, int64_t replica) {
  if (asked) return *asked <= replica ? std::vector<int64_t>{*asked} : std::vector<int64_t>{};
  std::set<int64_t> numbers;
  const int64_t most = std::min(replica, kMostTogether);
  for (int64_t n = 1; n <= most; n *= 2)
    numbers.insert(n);
  numbers.insert(most);
  return {numbers.begin(), numbers.end()};
}

bool all_guided(const std::vector<ClipGroup>& clips) {
  return std::all_of(clips.begin(), clips.end(),
                     [](const ClipGroup& group) { return group.sampling.guidance_scale > 1; });
}

ParallelPlan plan_of(const Split& split, int64_t dp, int64_t world) {
  return ParallelPlan::make({.dp = dp,
                             .cfg = split.cfg,
                             .sp = split.sp(),
                             .ring = split.ring,
                             .dit_tp = split.dit_tp,
                             .tp = split.tp,
                             .vae = split.vae},
                            world);
}

class Search {
 public:
  explicit Search(const PlanQuestion& question)
      : question_(question), cluster_(question.cluster.for_ranks(question.world)) {
    for (const ClipGroup& group : question.clips) {
      counts_.push_back(group.count);
      clips_ += group.count;
    }
  }

  PlanAnswer answer();

 private:
  /// The four axes that a clip's denoising is split over, with the replicas they leave.
  void consider(Split split, int64_t dp);
  /// Nothing, and the reason noted, where it does not fit the memory.
  std::optional<Candidate> candidate(const Split& split, int64_t dp);
  void refuse(const std::string& reason, int64_t layouts = 1);
  void note_rules();
  std::string why(const PlanAnswer& answer) const;
  std::string leftover(const Candidate& chosen) const;

  const PlanQuestion& question_;
  const Cluster cluster_;
  std::vector<int64_t> counts_;
  int64_t clips_ = 0;
  std::vector<Candidate> found_;
  std::vector<Refusal> refused_;
  int64_t considered_ = 0, too_large_ = 0;
  double least_memory_ = 0;
  std::string least_layout_;
};

void Search::refuse(const std::string& reason, int64_t layouts) {
  refused_.push_back({reason, layouts});
}

std::optional<Candidate> Search::candidate(const Split& split, int64_t dp) {
  ++considered_;
  std::vector<double> seconds;
  Prediction worst;
  double total = 0;
  for (const ClipGroup& group : question_.clips) {
    const ClipLoad load = question_.blueprint.cost(group.sampling, question_.options, split);
    const Prediction one = predict(load, split, cluster_, question_.world);
    seconds.push_back(one.seconds);
    total += one.seconds * real(group.count);
    if (one.claimed_bytes > worst.claimed_bytes) worst = one;
  }
  Candidate result{.plan = plan_of(split, dp, question_.world), .worst = worst};
  if (worst.claimed_bytes > cluster_.memory_bytes) {
    ++too_large_;
    if (least_layout_.empty() || worst.claimed_bytes < least_memory_) {
      least_memory_ = worst.claimed_bytes;
      least_layout_ = result.plan.text();
    }
    return std::nullopt;
  }
  result.clip_seconds = total / real(std::max<int64_t>(1, clips_));
  result.job_seconds = worst.load_seconds + makespan(seconds, counts_, dp);
  result.clips_per_hour = 3600 * real(clips_) / result.job_seconds;
  return result;
}

void Search::consider(Split split, int64_t dp) {
  std::optional<Candidate> best;
  for (const int64_t tp : part_tries(question_.parallel.tp, split.replica())) {
    for (const int64_t vae : part_tries(question_.parallel.vae, split.replica())) {
      split.tp = tp;
      split.vae = vae;
      std::optional<Candidate> one = candidate(split, dp);
      if (one && (!best || one->job_seconds < best->job_seconds)) best = std::move(one);
    }
  }
  if (best) found_.push_back(std::move(*best));
}

/// What the search never looks at, where it would have mattered.
void Search::note_rules() {
  const Parallel& asked = question_.parallel;
  const int64_t node = cluster_.ranks_per_node;
  if (!asked.cfg && question_.world > 1 && !all_guided(question_.clips))
    refuse("cfg 2: some clips have guidance_scale 1 or less, so half of the ranks would wait");
  if (!asked.sp && question_.world > node)
    refuse(str("ulysses x dit_tp beyond the ", node, " ranks of a node: a ring goes across nodes instead"));
}

PlanAnswer Search::answer() {
  const Parallel& asked = question_.parallel;
  const int64_t world = question_.world, node = std::min(cluster_.ranks_per_node, world);
  const int64_t most_cfg = asked.cfg ? *asked.cfg : (all_guided(question_.clips) ? 2 : 1);
  for (int64_t cfg = asked.cfg.value_or(1); cfg <= most_cfg; ++cfg) {
    for (const int64_t dit_tp : tries(asked.dit_tp, world / cfg, world)) {
      if (!asked.dit_tp && dit_tp > node) break;
      for (const int64_t sp : tries(asked.sp, world / (cfg * dit_tp), world)) {
        for (const int64_t ring : tries(asked.ring, sp, sp)) {
          if (sp % ring != 0) continue;
          const Split split{.cfg = cfg, .ulysses = sp / ring, .ring = ring, .dit_tp = dit_tp};
          // What talks most stays inside a node: places that a node's end would cut are left out.
          const int64_t inner = dit_tp * split.ulysses;
          const bool automatic = !asked.sp || !asked.ring;
          const bool inside = world <= node ? inner <= node : node % inner == 0;
          if (automatic && split.sp() > 1 && !inside) continue;
          const int64_t dp =
              asked.dp.value_or(std::min(world / split.replica(), std::max(clips_, int64_t{1})));
          if (dp * split.replica() <= world) consider(split, dp);
        }
      }
    }
  }
  if (considered_ == 0) {
    fail("parallel: tp ", asked.tp.value_or(1), " and vae ", asked.vae.value_or(1), ": no replica that ",
         world, world == 1 ? " rank" : " ranks",
         " and the other numbers allow has so many; lower them or make them auto");
  }
  note_rules();
  if (too_large_ > 0) {
    refuse(str("memory: a rank has ", gib(cluster_.memory_bytes), "; the smallest of these needs ",
               gib(least_memory_), " (", least_layout_, ")"),
           too_large_);
  }
  const auto order = [](const Candidate& c) {
    return std::tuple(c.job_seconds, c.plan.replica(), c.plan.dit_tp(), c.plan.ring());
  };
  std::stable_sort(found_.begin(), found_.end(),
                   [&](const Candidate& a, const Candidate& b) { return order(a) < order(b); });
  PlanAnswer answer;
  answer.considered = considered_;
  answer.refused = refused_;
  if (!found_.empty()) {
    // Of those as good as the best, the one with the fewest ranks a clip and the shortest ring: it depends
    // least on the links.
    const double limit = found_.front().job_seconds * (1 + kTie);
    const auto depends = [](const Candidate& c) { return std::pair(c.plan.replica(), c.plan.ring()); };
    auto chosen = found_.begin();
    for (auto it = found_.begin(); it != found_.end() && it->job_seconds <= limit; ++it) {
      if (depends(*it) < depends(*chosen)) chosen = it;
    }
    // Clips for every rank: then they share nothing, and have the same bytes on any number of ranks. That is
    // worth more than an earlier end of the last round.
    const auto own = std::find_if(found_.begin(), found_.end(), [&](const Candidate& c) {
      return c.plan.replica() == 1 && c.plan.dp() == question_.world;
    });
    if (clips_ >= question_.world && own != found_.end()) chosen = own;
    std::rotate(found_.begin(), chosen, chosen + 1);
    const auto count = static_cast<std::ptrdiff_t>(std::min(question_.most_best, found_.size()));
    answer.best.assign(found_.begin(), found_.begin() + count);
  }
  answer.why = why(answer);
  return answer;
}

std::string Search::why(const PlanAnswer& answer) const {
  if (answer.best.empty()) {
    return str("no layout fits: a rank has ", gib(cluster_.memory_bytes), ", and ", least_layout_, " needs ",
               gib(least_memory_), "; take more ranks, smaller clips or a smaller precision, or set ",
               "parallel.dit_tp or parallel.tp to auto");
  }
  const Candidate& chosen = answer.best[0];
  std::string text = str("dp ", chosen.plan.dp(), " with ", chosen.plan.replica(),
                         chosen.plan.replica() == 1 ? " rank" : " ranks", " a clip: ");
  if (clips_ >= question_.world && chosen.plan.replica() == 1 && chosen.plan.dp() == question_.world) {
    text +=
        "every rank has clips of its own, which share nothing and have the same bytes on any number of ranks";
  } else if (answer.best.size() == 1) {
    text += "no other layout is possible";
  } else {
    const Candidate& next = answer.best[1];
    const double slower = next.job_seconds / chosen.job_seconds - 1;
    if (slower < 0.005) {
      text += "none ends sooner by 2 %, and fewer ranks a clip or a shorter ring depend less on the links";
    } else {
      text += str("the job ends first; the next best (dp ", next.plan.dp(), " with ", next.plan.replica(),
                  ") takes ", percent(slower), " longer");
    }
  }
  return text + leftover(chosen);
}

/// Ranks without work, and why.
std::string Search::leftover(const Candidate& chosen) const {
  const int64_t idle = chosen.plan.idle();
  if (idle == 0) return {};
  const int64_t world = question_.world;
  const std::string which = idle == 1 ? str("; rank ", world - 1, " idles: ")
                                      : str("; ranks ", world - idle, " to ", world - 1, " idle: ");
  if (question_.parallel.dp && chosen.plan.dp() == *question_.parallel.dp)
    return which + str("parallel.dp is ", *question_.parallel.dp);
  if (chosen.plan.dp() == clips_)
    return which + str(clips_ == 1 ? "there is " : "there are ", clips_, clips_ == 1 ? " clip" : " clips",
                       ", and more ranks a clip would not end sooner");
  return which + str("they are no whole replica of ", chosen.plan.replica());
}

}  // namespace

void check_parallel(const Parallel& parallel, int64_t world, bool guided, Problems& problems) {
  Parallel numbers = parallel;
  // An encoder's or a VAE's share of a replica is judged only where the replica is known.
  const bool open = !parallel.cfg || !parallel.sp || !parallel.dit_tp;
  if (open) numbers.tp = numbers.vae = std::nullopt;
  try {
    ParallelPlan::make(numbers, world);
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      problems.add(problem);
    return;
  }
  for (const auto& [key, asked] : {std::pair("tp", parallel.tp), {"vae", parallel.vae}}) {
    if (asked && *asked > world)
      problems.add("parallel: ", key, " is ", *asked, ", and there ", world == 1 ? "is " : "are ", world,
                   world == 1 ? " rank" : " ranks");
  }
  if (parallel.cfg == 2 && !guided)
    problems.add("parallel: cfg is 2, and clips with guidance_scale 1 or less have one forward a step: half ",
                 "of the ranks would wait; set cfg to 1 or auto, or raise guidance_scale");
}

PlanAnswer choose_plan(const PlanQuestion& question) {
  Problems problems;
  check_parallel(question.parallel, question.world, all_guided(question.clips), problems);
  problems.throw_if_any();
  return Search(question).answer();
}

double makespan(const std::vector<double>& seconds, const std::vector<int64_t>& counts, int64_t replicas) {
  std::vector<size_t> order(seconds.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return seconds[a] > seconds[b]; });
  // Ends of the replicas' work: how many end at each time. Clips of a group end at few different times, so
  // this stays short however many replicas there are.
  std::map<double, int64_t> ends{{0.0, replicas}};
  double last = 0;
  for (const size_t i : order) {
    int64_t left = counts[i];
    while (left > 0) {
      const auto [at, free] = *ends.begin();
      const int64_t taken = std::min(free, left);
      if (taken == free) {
        ends.erase(ends.begin());
      } else {
        ends.begin()->second -= taken;
      }
      // Rounds in which all are alike are done at once.
      const int64_t rounds = ends.empty() ? std::max<int64_t>(1, left / taken) : 1;
      ends[at + seconds[i] * real(rounds)] += taken;
      last = std::max(last, at + seconds[i] * real(rounds));
      left -= taken * rounds;
    }
  }
  return last;
}

}  // namespace rushes
