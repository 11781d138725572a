// The same clip on any layout of ranks: the shapes checkpoint over 20 steps at guidance 5, with thread ranks.
// The worst differences are printed.
#include <catch2/catch.hpp>
#include <iostream>
#include <mutex>

#include "models/tokenizers/prompt_clean.h"
#include "pipelines/pipeline.h"
#include "support/ranks.h"

namespace rushes {
namespace {

struct Layout {
  int64_t cfg = 1, sp = 1, ring = 1, dit_tp = 1, tp = 1, vae = 1, dp = 1;
};

Request request_for(int64_t height, int64_t width, int64_t frames, double guidance) {
  Request request;
  request.prompt = "a red circle moving left on a blue background";
  request.sampling.height = height;
  request.sampling.width = width;
  request.sampling.num_frames = frames;
  request.sampling.num_inference_steps = 20;
  request.sampling.guidance_scale = guidance;
  request.sampling.max_sequence_length = 64;
  return request;
}

ParallelPlan plan_of(const Layout& l) {
  Parallel p;
  p.cfg = l.cfg;
  p.sp = l.sp;
  p.ring = l.ring;
  p.dit_tp = l.dit_tp;
  p.tp = l.tp;
  p.vae = l.vae;
  p.dp = l.dp;
  return ParallelPlan::make(p, l.dp * l.cfg * l.sp * l.dit_tp);
}

constexpr int64_t kPromptTokens[] = {10, 1};  // of request_for's prompt and of an empty one, with their ends

Split split_of(const ParallelPlan& plan) {
  return {.cfg = plan.cfg(),
          .ulysses = plan.ulysses(),
          .ring = plan.ring(),
          .dit_tp = plan.dit_tp(),
          .tp = plan.tp(),
          .vae = plan.vae()};
}

/// What the first rank handed to its groups while it made a clip, beside what the planner says it would.
void check_bytes(const Blueprint& blueprint, const Request& request, const PipelineOptions& options,
                 const Groups& groups) {
  std::array<double, kGroups> theory{};
  for (const StageLoad& stage : blueprint.cost(request.sampling, options, split_of(groups.plan))) {
    for (size_t i = 0; i < kGroups; ++i)
      theory[i] += stage.load.sent[i].bytes;
  }
  for (const auto& [group, comm] : {std::pair{Group::dit_tp, &groups.dit_tp},
                                    {Group::ulysses, &groups.ulysses},
                                    {Group::ring, &groups.ring},
                                    {Group::sp, &groups.sp},
                                    {Group::cfg, &groups.cfg}}) {
    INFO(comm->name());
    CHECK(static_cast<double>(comm->traffic().bytes_sent) == theory[static_cast<size_t>(group)]);
  }
  // The encoder passes the tokens that a prompt has; the planner counts the most that it may have.
  double text = 0;
  for (const int64_t tokens : kPromptTokens) {
    Sampling one = request.sampling;
    one.max_sequence_length = tokens;
    one.guidance_scale = 1;
    text += blueprint.cost(one, options, split_of(groups.plan))[0].load.to(Group::tp).bytes;
  }
  CHECK(static_cast<double>(groups.tp.traffic().bytes_sent) == text);
  // Here it counts the rank in the middle, with a neighbour on either side (to the byte: wan_vae_split_test).
  CHECK(static_cast<double>(groups.vae.traffic().bytes_sent) <= theory[static_cast<size_t>(Group::vae)]);
}

/// The clips of every replica's first rank; the latents of all its ranks must have the same bits.
std::vector<Clip> run_layout(const Blueprint& blueprint, const Request& request, const Layout& layout,
                             PipelineOptions options = {}) {
  const ParallelPlan plan = plan_of(layout);
  std::mutex mutex;
  std::vector<Clip> clips;
  std::vector<at::Tensor> latents;
  test::run_ranks(static_cast<int>(plan.world()), [&](const Comm& world) {
    const Groups groups = make_groups(plan, world, std::vector<int>(static_cast<size_t>(plan.world()), 0));
    PipelineOptions own = options;
    own.groups = &groups;
    const StopToken stop;
    Clip clip = blueprint.load(own)->run(request, {.stop = stop, .replica = &groups.replica});
    const std::lock_guard lock(mutex);
    latents.push_back(clip.latents);
    if (world.rank() == 0) check_bytes(blueprint, request, options, groups);
    if (groups.leads()) clips.push_back(std::move(clip));
  });
  for (const at::Tensor& other : latents)
    CHECK(at::equal(other, latents[0]));
  return clips;
}

int largest_step(const Frames& a, const Frames& b) {
  REQUIRE(a.rgb.size() == b.rgb.size());
  int largest = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i)
    largest = std::max(largest, std::abs(int{a.rgb[i]} - int{b.rgb[i]}));
  return largest;
}

const std::vector<Layout> kLayouts = {
    {.tp = 1},
    {.dit_tp = 2, .tp = 2},
    {.dit_tp = 3, .tp = 3, .vae = 3},
    {.dit_tp = 4, .tp = 4},
    {.sp = 2},
    {.sp = 3, .tp = 3, .vae = 2},
    {.sp = 4, .tp = 2, .vae = 4},
    {.sp = 2, .ring = 2},
    {.sp = 3, .ring = 3},
    {.sp = 4, .ring = 4, .vae = 3},
    {.sp = 4, .ring = 2, .tp = 4},
    {.sp = 5, .tp = 5, .vae = 5},
    {.sp = 6, .ring = 3, .tp = 3},
    {.sp = 2, .dit_tp = 2, .tp = 4},
    {.sp = 2, .ring = 2, .dit_tp = 3},
    {.cfg = 2},
    {.cfg = 2, .sp = 2, .tp = 2, .vae = 4},
    {.cfg = 2, .sp = 2, .ring = 2, .dit_tp = 2, .tp = 8, .vae = 2},
    {.cfg = 2, .sp = 3, .dit_tp = 1},
    {.dp = 2},
    {.sp = 2, .dp = 2},
};

std::unique_ptr<Blueprint> shapes() {
  return make_blueprint(ModelDir::open("datasets/shapes/checkpoint"),
                        [](const std::string& text) { return text; });
}

TEST_CASE("in bfloat16 layouts differ by its rounding", "[pipelines][layouts]") {
  const auto blueprint = shapes();
  const Request request = request_for(48, 64, 9, 5.0);
  const PipelineOptions options{
      .transformer = Dtype::bfloat16, .vae = Dtype::bfloat16, .text_encoder = Dtype::bfloat16};
  const at::Tensor exact = run_layout(*blueprint, request, {})[0].latents;
  const Clip one = run_layout(*blueprint, request, {}, options)[0];
  const double size = one.latents.pow(2).mean().sqrt().item<double>();
  const double rounding = (one.latents - exact).pow(2).mean().sqrt().item<double>();
  double worst = 0, furthest = 0, largest = 0;
  int step = 0;
  for (const Layout& layout : kLayouts) {
    INFO(plan_of(layout).text());
    for (const Clip& clip : run_layout(*blueprint, request, layout, options)) {
      const auto rms_from = [&](const at::Tensor& other) {
        return (clip.latents - other).pow(2).mean().sqrt().item<double>();
      };
      // A layout is as far from float32 as one rank is, give or take half; and two that are rounded
      // independently are further from each other than either from float32, at most by their sum.
      const double own = rms_from(exact), rms = rms_from(one.latents);
      CHECK(own <= 1.5 * rounding);
      CHECK(rms <= 2 * rounding);
      furthest = std::max(furthest, own);
      worst = std::max(worst, rms);
      largest = std::max(largest, (clip.latents - one.latents).abs().max().item<double>());
      step = std::max(step, largest_step(clip.frames, one.frames));
    }
  }
  std::cout << kLayouts.size() << " layouts, bfloat16: latents differ by at most " << largest << ", rms "
            << worst << " (" << worst / size << " of their size); from float32: " << furthest
            << ", one rank's " << rounding << "; frames by " << step << " of 255\n";
}

TEST_CASE("any layout makes the same clip", "[pipelines][layouts]") {
  const auto blueprint = shapes();
  const Request request = request_for(48, 64, 9, 5.0);
  const Clip one = run_layout(*blueprint, request, {})[0];
  double worst = 0;
  int step = 0;
  std::string where;
  for (const Layout& layout : kLayouts) {
    const std::string name = plan_of(layout).text();
    INFO(name);
    const std::vector<Clip> clips = run_layout(*blueprint, request, layout);
    CHECK(static_cast<int64_t>(clips.size()) == layout.dp);
    for (const Clip& clip : clips) {
      const at::Tensor difference = (clip.latents - one.latents).abs();
      CHECK((difference <= 1e-4 + 1e-4 * one.latents.abs()).all().item<bool>());
      CHECK(largest_step(clip.frames, one.frames) <= 1);
      if (difference.max().item<double>() >= worst) {
        worst = difference.max().item<double>();
        where = name;
      }
      step = std::max(step, largest_step(clip.frames, one.frames));
    }
  }
  std::cout << kLayouts.size() << " layouts, float32: latents differ by at most " << worst << " (" << where
            << "), frames by " << step << " of 255\n";
}

}  // namespace
}  // namespace rushes
