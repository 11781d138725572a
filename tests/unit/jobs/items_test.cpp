#include "jobs/items.h"

#include <catch2/catch.hpp>
#include <set>

#include "config/job_file.h"

using namespace rushes;

namespace {

/// A model whose sides are multiples of 16, counting how often its cost is asked.
class SomeBlueprint : public Blueprint {
 public:
  const std::string& pipeline_class() const override { return name_; }
  const std::vector<std::string>& sampling_keys() const override { return keys_; }
  void check(const Sampling& sampling, const std::string& where, Problems& problems) const override {
    if (sampling.height % 16 != 0)
      problems.add(where, ": height is ", sampling.height, "; a multiple of 16 is needed");
  }
  void check_text(const std::string& prompt, const Sampling&, const std::string& where,
                  Problems& problems) const override {
    if (prompt == "unknown words") problems.add(where, ": prompt: has unknown words");
  }
  ItemCost cost(const Sampling& sampling, const PipelineOptions&) const override {
    ++costs;
    ItemCost cost;
    cost.flops = static_cast<double>(sampling.height * sampling.width * sampling.num_frames);
    return cost;
  }
  ClipLoad cost(const Sampling&, const PipelineOptions&, const Split&) const override { return {}; }
  std::unique_ptr<Pipeline> load(const PipelineOptions&) const override {
    throw InternalError("no weights here");
  }

  mutable int costs = 0;

 private:
  std::string name_ = "SomePipeline";
  std::vector<std::string> keys_ = {"height", "width", "num_frames", "guidance_scale", "seed", "samples"};
};

PromptRow row(const std::string& prompt, int64_t line, std::optional<std::string> id = {},
              const nlohmann::json& settings = nlohmann::json::object()) {
  PromptRow row;
  row.prompt = prompt;
  row.id = std::move(id);
  row.settings = from_json(settings, line).entries;
  row.document = "p.jsonl";
  row.where = str("p.jsonl:", line);
  return row;
}

struct Made {
  std::vector<Item> items;
  std::vector<std::string> problems;
};

class Fixture {
 public:
  Made make(const std::vector<PromptRow>& rows) {
    Problems problems;
    const auto drafts = draft_items(rows, base, set, problems);
    const ItemContext context{blueprint, options, facts, video, sources, job_file, set};
    Made made;
    made.items = make_items(drafts, context, problems);
    made.problems = problems.list();
    return made;
  }

  SomeBlueprint blueprint;
  PipelineOptions options;
  RequestFacts facts{
      .model = "abc", .numerics = "diffusers", .attention = "sdpa", .device = "cpu", .build = ""};
  bool video = true;
  std::map<std::string, std::string> sources = {{"sampling.height", "job.yaml:3"}};
  std::string job_file = "job.yaml";
  Sampling base;
  std::vector<Value> set;
};

using List = std::vector<std::string>;

}  // namespace

TEST_CASE("items: layers, in order") {
  Fixture fixture;
  fixture.base.height = 64;
  fixture.base.seed = 5;
  fixture.set.push_back(nested("sampling.width", plain_scalar("32", 0)));
  const Made made = fixture.make({row("a", 1, "x", {{"seed", 9}, {"width", 48}}), row("b", 2, "y")});
  CHECK(made.problems.empty());
  REQUIRE(made.items.size() == 2);
  CHECK(made.items[0].sampling.height == 64);
  CHECK(made.items[0].sampling.seed == 9);
  CHECK(made.items[0].sampling.width == 32);  // --set is above the line
  CHECK(made.items[1].sampling.seed == 5);
  CHECK(made.items[0].id == "x");
  CHECK(made.items[0].where == "p.jsonl:1");
}

TEST_CASE("items: a text that the model cannot take is noted once, at its line") {
  Fixture fixture;
  fixture.base.samples = 3;
  const Made made = fixture.make({row("known", 1), row("unknown words", 2)});
  CHECK(made.problems == List{"p.jsonl:2: prompt: has unknown words"});
}

TEST_CASE("items: samples are clips of their own") {
  Fixture fixture;
  fixture.base.samples = 3;
  const Made made =
      fixture.make({row("A red Circle!", 1), row("b", 2, "named"), row("c", 3, "one", {{"samples", 1}})});
  REQUIRE(made.items.size() == 7);
  std::set<std::string> ids;
  for (const Item& item : made.items) {
    CHECK(item.sampling.samples == 1);
    CHECK(ids.insert(item.id).second);
    const nlohmann::json line = prompt_line(item);
    CHECK(line["id"] == item.id);
    CHECK(line["seed"] == item.sampling.seed);
    CHECK(line["samples"] == 1);
  }
  CHECK(made.items[0].sampling.seed == 42);
  CHECK(made.items[2].sampling.seed == 44);
  CHECK(made.items[0].id == str("a-red-circle-", made.items[0].request_hash.substr(0, 8)));
  CHECK(made.items[3].id == "named-42");
  CHECK(made.items[5].id == "named-44");
  CHECK(made.items[6].id == "one");
}

TEST_CASE("items: a failed line runs again as the very same item") {
  Fixture fixture;
  fixture.base.samples = 2;
  const Made made = fixture.make({row("a", 1, {}, {{"height", 96}}), row("b", 2, "named")});
  for (const Item& item : made.items) {
    const nlohmann::json line = prompt_line(item);
    CHECK(line.contains("height") == (item.prompt == "a"));
    PromptRow again = row(item.prompt, 1, line["id"].get<std::string>(), line);
    std::erase_if(again.settings,
                  [](const Entry& entry) { return entry.key == "prompt" || entry.key == "id"; });
    const Made rerun = fixture.make({again});
    REQUIRE(rerun.items.size() == 1);
    CHECK(rerun.items[0].id == item.id);
    CHECK(rerun.items[0].request_hash == item.request_hash);
  }
}

TEST_CASE("items: identical lines are numbered, ids given twice are refused") {
  Fixture fixture;
  const Made twins = fixture.make({row("same", 1), row("same", 2), row("same", 3)});
  REQUIRE(twins.items.size() == 3);
  CHECK(twins.items[1].id == str(twins.items[0].id, "-2"));
  CHECK(twins.items[2].id == str(twins.items[0].id, "-3"));
  CHECK(twins.items[1].request_hash == twins.items[0].request_hash);
  // A given id that happens to look like a made one: the made one gives way.
  const Made taken = fixture.make({row("same", 1), row("other", 2, twins.items[0].id)});
  CHECK(taken.problems.empty());
  CHECK(taken.items[0].id == str(twins.items[0].id, "-2"));

  const Made doubled = fixture.make({row("a", 3, "x"), row("b", 8, "x")});
  CHECK(doubled.problems == List{"p.jsonl:8: id: 'x' stands already in p.jsonl:3; an id names one clip"});
  fixture.base.samples = 2;
  const Made crossed = fixture.make({row("a", 1, "x"), row("b", 2, "x-43", {{"samples", 1}})});
  CHECK(crossed.problems == List{"p.jsonl:2: id: 'x-43' stands already in p.jsonl:1; an id names one clip"});
  const Made longer = fixture.make({row("a", 1, std::string(199, 'x'))});
  CHECK(longer.problems[0].find("p.jsonl:1: id: has 202 bytes") == 0);
}

TEST_CASE("items: seeds and counts have ends") {
  Fixture fixture;
  const Made seeds = fixture.make({row("a", 4, {}, {{"seed", INT64_MAX}, {"samples", 2}})});
  CHECK(seeds.problems[0].find("p.jsonl:4: seed 9223372036854775807 and 2 samples") == 0);
  CHECK(fixture.make({row("a", 4, {}, {{"seed", INT64_MAX}})}).problems.empty());
  const Made many =
      fixture.make({row("a", 1, {}, {{"samples", 1000}}), row("a", 2, {}, {{"samples", 1000000}})});
  CHECK(many.problems[0].find("p.jsonl:2: with this line the job has more than 1000000 clips") == 0);
}

TEST_CASE("items: bad sizes are told once, where the key stands") {
  Fixture fixture;
  fixture.base.height = 250;
  fixture.base.width = 33;
  const Made made = fixture.make({row("a", 1), row("b", 2), row("c", 3, {}, {{"guidance_scale", 2}}),
                                  row("d", 4, {}, {{"height", 65}, {"width", 32}})});
  CHECK(made.problems ==
        List{"job.yaml:3: sampling.height is 250; a multiple of 16 is needed",
             "job.yaml: sampling.width is 33; H.264 video needs an even number (save: [frames] takes any)",
             "p.jsonl:4: height is 65; a multiple of 16 is needed",
             "p.jsonl:4: height is 65; H.264 video needs an even number (save: [frames] takes any)"});
  fixture.video = false;
  fixture.base.height = 64;
  CHECK(fixture.make({row("a", 1)}).problems.empty());
}

TEST_CASE("items: costs are asked once a shape") {
  Fixture fixture;
  std::vector<PromptRow> rows;
  for (int i = 0; i < 50; ++i)
    rows.push_back(row(str("number ", i), i + 1, {}, {{"height", i % 2 == 0 ? 32 : 64}, {"seed", i}}));
  const Made made = fixture.make(rows);
  CHECK(fixture.blueprint.costs == 2);
  CHECK(made.items[1].flops == 2 * made.items[0].flops);
  CHECK(made.items[2].flops == made.items[0].flops);
}

TEST_CASE("slug: short, plain, never empty") {
  CHECK(slug("A red  Circle, moving left!") == "a-red-circle-moving-left");
  CHECK(slug("") == "clip");
  CHECK(slug("\xE7\x8C\xAB\xE3\x81\x8C") == "clip");
  CHECK(slug("--x--") == "x");
  CHECK(slug(std::string(300, 'a')).size() == 48);
  CHECK(slug(str(std::string(47, 'a'), " b")) == std::string(47, 'a'));
}

TEST_CASE("request: what changes it and what does not") {
  const RequestFacts facts{
      .model = "abc", .numerics = "diffusers", .attention = "sdpa", .device = "cpu", .build = ""};
  const Sampling sampling;
  const List keys = field_keys(sampling_fields());
  const auto request = make_request(facts, "a cat", sampling, keys);
  CHECK(hash_request(request).size() == 32);
  CHECK(hash_request(request) == hash_request(nlohmann::json::parse(request.dump())));
  CHECK_FALSE(request.contains("sampling.samples"));
  CHECK(request["sampling.guidance_scale"].dump() == "5.0");

  std::set<std::string> hashes = {hash_request(request)};
  const auto differs = [&](const nlohmann::json& other) { return hashes.insert(hash_request(other)).second; };
  CHECK(differs(make_request(facts, "a dog", sampling, keys)));
  for (const auto& change : std::vector<std::function<void(RequestFacts&)>>{
           [](auto& f) { f.model = str("abd"); }, [](auto& f) { f.numerics = str("official"); },
           [](auto& f) { f.attention = str("reference"); }, [](auto& f) { f.device = str("cuda"); },
           [](auto& f) { f.transformer = Dtype::bfloat16; }, [](auto& f) { f.vae = Dtype::bfloat16; },
           [](auto& f) { f.text_encoder = Dtype::bfloat16; }, [](auto& f) { f.build = str("1"); }}) {
    RequestFacts other = facts;
    change(other);
    CHECK(differs(make_request(other, "a cat", sampling, keys)));
  }
  for (const auto& change : std::vector<std::function<void(Sampling&)>>{
           [](auto& s) { s.height += 16; }, [](auto& s) { s.width += 16; },
           [](auto& s) { s.num_frames += 4; }, [](auto& s) { s.fps += 1; },
           [](auto& s) { s.num_inference_steps += 1; }, [](auto& s) { s.guidance_scale += 1e-9; },
           [](auto& s) { s.negative_prompt = str("x"); }, [](auto& s) { s.flow_shift = 3.0; },
           [](auto& s) { s.max_sequence_length += 1; }, [](auto& s) { s.seed += 1; }}) {
    Sampling other = sampling;
    change(other);
    CHECK(differs(make_request(facts, "a cat", other, keys)));
  }
  Sampling samples = sampling;
  samples.samples = 9;
  CHECK(hash_request(make_request(facts, "a cat", samples, keys)) == hash_request(request));
  // A key that the pipeline does not read is no part of it; fps and seed always are.
  const auto few = make_request(facts, "a cat", sampling, {"height"});
  CHECK_FALSE(few.contains("sampling.width"));
  CHECK(few.contains("sampling.fps"));
  CHECK(few.contains("sampling.seed"));
}

TEST_CASE("request: the changed keys are named with both values") {
  const nlohmann::json before = {{"a", 1}, {"b", "x"}, {"c", 2.0}},
                       now = {{"a", 1}, {"b", "y z"}, {"d", nullptr}};
  CHECK(changed_keys(before, now) == List{"b: x, now y z", "c: 2.0, now nothing", "d: nothing, now null"});
  CHECK(changed_keys(before, before).empty());
  CHECK(changed_keys(nullptr, {{"a", 1}}) == List{"a: nothing, now 1"});
}
