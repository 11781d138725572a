#include "planner/planner.h"

#include <catch2/catch.hpp>
#include <map>

#include "base/timer.h"
#include "planner/report.h"
#include "some_blueprint.h"

using namespace rushes;

namespace {

const SomeBlueprint& model() {
  static const SomeBlueprint blueprint;
  return blueprint;
}

PlanAnswer choose(int64_t world, std::vector<ClipGroup> clips, const Parallel& parallel = {},
                  const Cluster& cluster = some_cluster(), size_t most = 8) {
  return choose_plan({.blueprint = model(),
                      .options = {},
                      .clips = std::move(clips),
                      .world = world,
                      .parallel = parallel,
                      .cluster = cluster,
                      .most_best = most});
}

std::string refusal(int64_t world, const std::vector<ClipGroup>& clips, const Parallel& parallel) {
  try {
    choose(world, clips, parallel);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

/// `parallel:` with these numbers and all else as a job has it; 0 is auto.
Parallel asked(const std::map<std::string, int64_t>& numbers) {
  Parallel parallel;
  const std::map<std::string, std::optional<int64_t>*> members = {
      {"dp", &parallel.dp},         {"cfg", &parallel.cfg}, {"sp", &parallel.sp},  {"ring", &parallel.ring},
      {"dit_tp", &parallel.dit_tp}, {"tp", &parallel.tp},   {"vae", &parallel.vae}};
  for (const auto& [key, number] : numbers)
    *members.at(key) = number == 0 ? std::nullopt : std::optional(number);
  return parallel;
}

bool left_out(const PlanAnswer& answer, const std::string& words) {
  for (const Refusal& refusal : answer.refused) {
    if (refusal.reason.find(words) != std::string::npos) return true;
  }
  return false;
}

std::vector<std::string> layouts(const PlanAnswer& answer) {
  std::vector<std::string> texts;
  for (const Candidate& candidate : answer.best)
    texts.push_back(candidate.plan.text());
  std::sort(texts.begin(), texts.end());
  return texts;
}

}  // namespace

TEST_CASE("makespan: longest first, each to whoever is free first") {
  CHECK(makespan({10}, {1}, 4) == 10);
  CHECK(makespan({10}, {9}, 4) == 30);
  CHECK(makespan({1, 5, 3}, {2, 1, 2}, 2) == 7);  // 5 1 1 | 3 3
  CHECK(makespan({4, 1}, {2, 8}, 2) == 8);
  CHECK(makespan({1}, {1000000}, 1000) == 1000);
  CHECK(makespan({}, {}, 3) == 0);
}

TEST_CASE("prediction: seconds, worked by hand") {
  Cluster cluster = some_cluster();
  Load load;
  load.matmul_flops = 500e12;     // 1 s at half of 1000 T
  load.attention_flops = 250e12;  // 0.5 s with heads of 128: 0.25 s of products, 0.25 s of exponentials
  load.scores = 250e12 / 512;
  load.moved_bytes = 1e12;  // 0.5 s
  load.steps = 1000;        // 0.1 s
  load.calls = 10;
  load.weight_bytes = 20e9;
  load.activation_bytes = 3e9;
  load.send(Group::ulysses, 400000000, 1000);  // 1 s, and 0.01 s of waiting
  Load decode;
  decode.activation_bytes = 5e9;
  const ClipLoad clip = {{"denoising", Dtype::bfloat16, load, false},
                         {"decoding", Dtype::float32, decode, true}};
  const Prediction one = predict(clip, {.ulysses = 2}, cluster, 2);
  CHECK(one.seconds == Approx(1 + 0.5 + 0.5 + 0.1 + 1.01));
  CHECK(one.node_bytes == 400e9);
  CHECK(one.network_bytes == 0);
  CHECK(one.memory_bytes == Approx(20e9 + 3e9 + 5e9 + 1e9));
  CHECK(one.load_seconds == Approx(0.04));  // two ranks read 20 GB each
  load.calls = 3e6;                         // 3 s to start what runs for 2 s
  CHECK(predict({{"denoising", Dtype::bfloat16, load, false}}, {.ulysses = 2}, cluster, 2).seconds ==
        Approx(3 + 0.1 + 1.01));
  cluster.device = DeviceKind::cpu;  // one after the other, 16-bit numbers no faster moved
  const Prediction cpu = predict(clip, {.ulysses = 2}, cluster, 2);
  CHECK(cpu.seconds == Approx(1 + 0.5 + 1.0 + 0.1 + 1.01 + 10e-6));
  CHECK(cpu.memory_bytes == Approx(20e9 + 5e9 + std::min(5e9, 0.25 * 25e9) + 1e9));
}

TEST_CASE("prediction: narrower heads have as many exponentials and fewer products") {
  Load load;
  load.attention_flops = 500e12;
  load.scores = 500e12 / (4 * 32);
  // 0.5 s of products; at heads of 128 half of the time is the exponentials', here four times as much a
  // product.
  CHECK(predict({{"denoising", Dtype::bfloat16, load, false}}, {}, some_cluster(), 1).seconds == Approx(2.5));
}

TEST_CASE("prediction: a ring's sends hide behind attention") {
  Load load;
  load.attention_flops = 425e12;
  load.scores = 425e12 / 512;
  load.send(Group::ring, 200000000000);  // 0.5 s
  const Prediction hidden =
      predict({{"denoising", Dtype::bfloat16, load, false}}, {.ring = 2}, some_cluster(), 2);
  CHECK(hidden.seconds == Approx(1));
  load.to(Group::ring).bytes *= 10;
  CHECK(predict({{"denoising", Dtype::bfloat16, load, false}}, {.ring = 2}, some_cluster(), 2).seconds > 4);
}

TEST_CASE("prediction: what leaves the node") {
  CHECK(network_share(Group::ulysses, {.ulysses = 8}, 8, 8) == 0);
  CHECK(network_share(Group::ulysses, {.ulysses = 8}, 8, 64) == 0);
  CHECK(network_share(Group::ulysses, {.ulysses = 16}, 8, 64) == Approx(8.0 / 15));
  CHECK(network_share(Group::ulysses, {.ulysses = 3}, 8, 64) > 0);  // some are cut
  CHECK(network_share(Group::ulysses, {.ulysses = 3}, 8, 6) == 0);  // all on one node
  CHECK(network_share(Group::ring, {.ulysses = 8, .ring = 2}, 8, 16) == 1);
  CHECK(network_share(Group::ring, {.ulysses = 4, .ring = 2}, 8, 16) == 0);
  CHECK(network_share(Group::dit_tp, {.ulysses = 8, .dit_tp = 2}, 8, 16) == 0);
  CHECK(network_share(Group::cfg, {.cfg = 2, .ulysses = 8}, 8, 16) == 1);
  CHECK(network_share(Group::vae, {.ulysses = 8, .ring = 2, .vae = 8}, 8, 16) == 0);
  CHECK(network_share(Group::vae, {.ulysses = 8, .ring = 2, .vae = 16}, 8, 16) == Approx(8.0 / 15));
}

TEST_CASE("choice: many clips go to data parallel, few to more ranks each") {
  const PlanAnswer many = choose(8, {clips_of(1000)});
  CHECK(many.best[0].plan.text() ==
        "8 ranks = dp 8 x replica 1 (cfg 1 x sp 1 [ring 1] x dit_tp 1), tp 1, vae 1");
  const PlanAnswer one = choose(8, {clips_of(1)});
  CHECK(one.best[0].plan.dp() == 1);
  CHECK(one.best[0].plan.replica() == 8);
  CHECK(one.best[0].clip_seconds < many.best[0].clip_seconds / 4);
  const PlanAnswer two = choose(8, {clips_of(2)});
  CHECK(two.best[0].plan.dp() == 2);
  CHECK(two.best[0].plan.replica() == 4);
  // 16 ranks on two nodes: what stays in a node is chosen inside it.
  const PlanAnswer nodes = choose(16, {clips_of(1)});
  CHECK(nodes.best[0].plan.ulysses() * nodes.best[0].plan.dit_tp() <= 8);
}

TEST_CASE("choice: explicit numbers hold") {
  const PlanAnswer sp = choose(8, {clips_of(100)}, asked({{"sp", 4}, {"vae", 2}}));
  REQUIRE(!sp.best.empty());
  for (const Candidate& candidate : sp.best) {
    CHECK(candidate.plan.sp() == 4);
    CHECK(candidate.plan.vae() == 2);
    CHECK(candidate.plan.dit_tp() == 1);  // the job's default
  }
  CHECK(choose(8, {clips_of(100)}, asked({{"dp", 2}})).best[0].plan.dp() == 2);
  CHECK(choose(12, {clips_of(4)}, asked({{"sp", 3}, {"ring", 3}})).best[0].plan.ring() == 3);
  CHECK(choose(8, {clips_of(4)}, asked({{"tp", 2}})).best[0].plan.tp() ==
        2);  // needs a replica of two at least
}

TEST_CASE("choice: what cannot hold is refused with every factor") {
  const std::vector<ClipGroup> clips = {clips_of(4)};
  CHECK_THAT(refusal(3, clips, asked({{"dp", 4}})),
             Catch::Contains("dp 4 x replica 1") && Catch::Contains("needs 4"));
  CHECK_THAT(refusal(8, clips, asked({{"sp", 4}, {"ring", 3}})),
             Catch::Contains("ring 3 does not divide sp 4"));
  CHECK_THAT(refusal(2, clips, asked({{"tp", 4}})), Catch::Contains("tp is 4, and there are 2 ranks"));
  CHECK_THAT(refusal(8, clips, asked({{"dp", 8}, {"vae", 4}})), Catch::Contains("no replica"));
  CHECK_THAT(refusal(8, {clips_of(4), clips_of(1, 81, 1.0)}, asked({{"cfg", 2}})),
             Catch::Contains("guidance_scale 1 or less"));
}

TEST_CASE("choice: cfg 2 only where every clip has guidance") {
  const PlanAnswer mixed = choose(8, {clips_of(1), clips_of(1, 17, 1.0)}, {}, some_cluster(), 1000);
  for (const Candidate& candidate : mixed.best)
    CHECK(candidate.plan.cfg() == 1);
  CHECK(left_out(mixed, "cfg 2"));
}

TEST_CASE("choice: a layout that does not fit the memory is left out, and says so") {
  Cluster small = some_cluster();
  small.memory_bytes =
      17e9;  // the encoder's 11.4 GB and the transformer's 2.8 GB, with what runs beside them
  const PlanAnswer answer = choose(8, {clips_of(1000)}, {}, small);
  REQUIRE(!answer.best.empty());
  CHECK(answer.best[0].plan.replica() > 1);
  CHECK(answer.best[0].worst.memory_bytes <= small.memory_bytes);
  CHECK(left_out(answer, "memory: a rank has 15.8 GiB; the smallest of these needs"));
  small.memory_bytes = 4e9;
  const PlanAnswer none = choose(1, {clips_of(1)}, {}, small);
  CHECK(none.best.empty());
  CHECK_THAT(none.why, Catch::Contains("no layout fits") && Catch::Contains("3.7 GiB"));
}

TEST_CASE("choice: more memory never takes a layout away") {
  std::vector<std::string> before;
  for (double memory = 5e9; memory < 60e9; memory *= 1.3) {
    Cluster cluster = some_cluster();
    cluster.memory_bytes = memory;
    // With tp and vae given, each layout is one candidate.
    std::vector<std::string> now =
        layouts(choose(16, {clips_of(3)}, asked({{"dit_tp", 0}, {"tp", 1}, {"vae", 1}}), cluster, 100000));
    CHECK(std::includes(now.begin(), now.end(), before.begin(), before.end()));
    before = std::move(now);
  }
  CHECK(before.size() > 20);
}

TEST_CASE("choice: ranks that idle are named, with the reason") {
  const PlanAnswer few = choose(8, {clips_of(7)}, asked({{"sp", 1}}));
  CHECK(few.best[0].plan.idle() == 1);
  CHECK_THAT(few.why, Catch::Contains("rank 7 idles: there are 7 clips"));
  const PlanAnswer odd = choose(8, {clips_of(1000)}, asked({{"sp", 3}, {"ring", 1}}));
  CHECK(odd.best[0].plan.idle() == 2);
  CHECK_THAT(odd.why, Catch::Contains("ranks 6 to 7 idle: they are no whole replica of 3"));
  const PlanAnswer three = choose(8, {clips_of(1000)}, asked({{"dp", 3}, {"cfg", 1}, {"sp", 1}}));
  CHECK_THAT(three.why, Catch::Contains("ranks 3 to 7 idle: parallel.dp is 3"));
}

TEST_CASE("choice: a clip too small for it is decoded by fewer ranks") {
  Cluster slow = some_cluster();
  slow.node.latency_seconds = 2e-3;
  Sampling tiny;
  tiny.height = tiny.width = 64;
  tiny.num_frames = 5;
  const PlanAnswer answer = choose(8, {{tiny, 1}}, asked({{"sp", 8}, {"ring", 1}}), slow);
  CHECK(answer.best[0].plan.vae() == 1);
  CHECK(choose(8, {clips_of(1)}, asked({{"sp", 8}, {"ring", 1}})).best[0].plan.vae() == 8);
}

TEST_CASE("choice: the same question has the same answer") {
  const std::vector<ClipGroup> clips = {clips_of(5), clips_of(9, 33), clips_of(2, 121)};
  const PlanAnswer a = choose(24, clips), b = choose(24, clips);
  CHECK(candidate_rows(a) == candidate_rows(b));
  CHECK(reason_lines(a) == reason_lines(b));
  CHECK(a.considered == b.considered);
}

TEST_CASE("choice: 4,096 ranks are planned in seconds, and few layouts are tried") {
  std::vector<ClipGroup> clips;
  for (int64_t i = 0; i < 12; ++i)
    clips.push_back(clips_of(100 + i, 17 + 8 * i));
  const Timer timer;
  const PlanAnswer answer = choose(4096, clips, asked({{"dit_tp", 0}}));
  INFO(answer.considered << " layouts in " << timer.seconds() << " s");
  CHECK(!answer.best.empty());
  CHECK(answer.considered < 20000);
  CHECK(timer.seconds() < 5);
  const Timer again;
  Cluster flat = some_cluster();
  flat.ranks_per_node = 4096;  // one machine with everything inside
  CHECK(choose(4096, {clips_of(1)}, asked({{"dit_tp", 0}}), flat).considered < 200000);
  CHECK(again.seconds() < 5);
}

TEST_CASE("choice: a CPU's ranks share their node") {
  Cluster cpu = some_cluster();
  cpu.device = DeviceKind::cpu;
  cpu.ranks_per_node = 4;
  CHECK(cpu.for_ranks(1).peak.float32 == cpu.peak.float32);
  CHECK(cpu.for_ranks(2).peak.float32 == cpu.peak.float32 / 2);
  CHECK(cpu.for_ranks(64).memory_bytes == cpu.memory_bytes / 4);
  CHECK(some_cluster().for_ranks(4).memory_bytes == some_cluster().memory_bytes);
}

TEST_CASE("cluster: a description written is the one read, and every mistake is named") {
  const Cluster given = some_cluster();
  const std::string yaml = cluster_yaml(given, "measured\nhere");
  CHECK(yaml.starts_with("# measured\n# here\nname: "));
  Value document = from_json(nlohmann::json::parse(R"({"name": "x", "device": "gpu", "ranks_per_nod": 8,
    "peak": {"float32": 1e12, "bfloat16": "fast", "float16": 1e12},
    "runtime_bytes": null, "convolution": null})"),
                             3);
  try {
    read_cluster(document, "c.yaml");
    FAIL("read");
  } catch (const UserError& error) {
    const std::string what = error.what();
    CHECK_THAT(what, Catch::Contains("c.yaml:3: ranks_per_nod: unknown key; did you mean 'ranks_per_node'?"));
    CHECK_THAT(what, Catch::Contains("c.yaml:3: device: must be one of cpu, cuda; found the text 'gpu'"));
    CHECK_THAT(what, Catch::Contains("c.yaml:3: peak.bfloat16: must be a number"));
    for (const char* absent : {"memory_bytes", "runtime_bytes", "convolution", "network"})
      CHECK_THAT(what, Catch::Contains(str("c.yaml: ", absent, ": missing")));
  }
}
