#include "config/fields.h"

#include <catch2/catch.hpp>
#include <limits>
#include <set>

#include "config/job_file.h"

using namespace rushes;

namespace {

Value whole(int64_t number) {
  return plain_scalar(std::to_string(number), 3);
}

/// What reading {key: value} into a Sampling says.
std::vector<std::string> problems_of(const std::string& key, Value value, Sampling* into = nullptr) {
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("f.yaml", problems, sources);
  Value map;
  map.kind = Value::Kind::mapping;
  value.line = 3;
  map.entries.push_back({key, 3, std::move(value)});
  Sampling sampling;
  read_fields(sampling_fields(), into ? *into : sampling, map, "sampling.", reading);
  if (problems.empty()) CHECK(sources.at(str("sampling.", key)) == "f.yaml:3");
  return problems.list();
}

}  // namespace

TEST_CASE("fields: a good value is taken, a wrong one told") {
  Sampling sampling;
  CHECK(problems_of("height", whole(64), &sampling).empty());
  CHECK(sampling.height == 64);
  CHECK(problems_of("guidance_scale", whole(3), &sampling).empty());
  CHECK(sampling.guidance_scale == 3.0);
  CHECK(problems_of("flow_shift", plain_scalar("2.5", 3), &sampling).empty());
  CHECK(sampling.flow_shift == 2.5);
  CHECK(problems_of("flow_shift", Value{}, &sampling).empty());
  CHECK_FALSE(sampling.flow_shift.has_value());
  CHECK(problems_of("negative_prompt", text_value("", 3), &sampling).empty());

  using List = std::vector<std::string>;
  CHECK(problems_of("height", text_value("tall", 3)) ==
        List{"f.yaml:3: sampling.height: must be a whole number from 1 to 16384; found the text 'tall'"});
  CHECK(problems_of("height", whole(0)) ==
        List{"f.yaml:3: sampling.height: must be a whole number from 1 to 16384; found the number 0"});
  CHECK(problems_of("height", whole(-8)).size() == 1);
  CHECK(problems_of("height", whole(16385)).size() == 1);
  CHECK(problems_of("height", plain_scalar("64.0", 3)).size() == 1);
  CHECK(problems_of("height", plain_scalar("99999999999999999999999", 3))[0].find(
            "99999999999999999999999") != std::string::npos);
  CHECK(problems_of("height", text_value("64", 3)).size() == 1);  // quoted
  CHECK(problems_of("height", plain_scalar("true", 3)).size() == 1);
  CHECK(problems_of("height", Value{}).size() == 1);
  CHECK(problems_of("guidance_scale", plain_scalar(".nan", 3)).size() == 1);
  CHECK(problems_of("guidance_scale", plain_scalar(".inf", 3)).size() == 1);
  CHECK(problems_of("guidance_scale", whole(-1)).size() == 1);
  CHECK(problems_of("seed", whole(-1)).size() == 1);
  CHECK(problems_of("seed", whole(INT64_MAX)).empty());
  CHECK(problems_of("negative_prompt", whole(5)) ==
        List{"f.yaml:3: sampling.negative_prompt: must be a text (put it in quotes); found the number 5"});
  CHECK(problems_of("negative_prompt", text_value(std::string("a\0b", 3), 3)).size() == 1);
  CHECK(problems_of("hieght", whole(64)) ==
        List{"f.yaml:3: sampling.hieght: unknown key; did you mean 'height'?"});
  CHECK(problems_of("banana", whole(64))[0].find("unknown key; the keys here are height, width") !=
        std::string::npos);
}

TEST_CASE("fields: a wrong value leaves the member as it was") {
  Sampling sampling;
  sampling.height = 32;
  problems_of("height", whole(0), &sampling);
  CHECK(sampling.height == 32);
}

TEST_CASE("fields: without quotes a number may be a text (CSV, --set)") {
  Sampling sampling;
  Value cell = plain_scalar("5", 3);
  cell.quoted = false;
  CHECK(problems_of("negative_prompt", cell, &sampling).empty());
  CHECK(sampling.negative_prompt == "5");
  CHECK(problems_of("seed", cell, &sampling).empty());
  CHECK(sampling.seed == 5);
}

TEST_CASE("fields: words, auto and lists of words") {
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("f.yaml", problems, sources);
  JobFile job;
  const auto read = [&](const nlohmann::json& json) { read_job(from_json(json, 2), job, reading); };
  read({{"device", "cpu"}, {"attention", "reference"}, {"save", {"frames", "latents"}}, {"job", "regress"}});
  read({{"parallel", {{"dp", 4}, {"dit_tp", "auto"}}}, {"precision", {{"vae", "bfloat16"}}}});
  CHECK(problems.empty());
  CHECK(job.device == DeviceKind::cpu);
  CHECK(job.kind == JobKind::regress);
  CHECK(job.save == std::vector<std::string>{"frames", "latents"});
  CHECK(job.parallel.dp == 4);
  CHECK_FALSE(job.parallel.dit_tp.has_value());
  CHECK(job.precision.vae == Dtype::bfloat16);
  read({{"save", "video"}});
  CHECK(job.save == std::vector<std::string>{"video"});

  read({{"device", "gpu"}, {"save", nlohmann::json::array()}, {"precision", {{"vae", "bfloat"}}}});
  read({{"save", {"video", "video"}}});
  read({{"save", {"movie"}}});
  read({{"parallel", {{"dp", 0}, {"cfg", 3}}}});
  read({{"parallel", 4}});
  const auto& list = problems.list();
  REQUIRE(list.size() == 8);
  CHECK(list[0] ==
        "f.yaml:2: device: must be one of auto, cpu, cuda; found the text 'gpu'; did you mean 'cpu'?");
  CHECK(list[1].find("precision.vae: must be one of auto, float32, bfloat16, float16") != std::string::npos);
  CHECK(list[1].find("did you mean 'bfloat16'?") != std::string::npos);
  CHECK(list[2].find("save: the list is empty; name one at least of video, latents, frames") !=
        std::string::npos);
  CHECK(list[3].find("'video' stands there twice") != std::string::npos);
  CHECK(list[4].find("save: must be one of") != std::string::npos);
  CHECK(list[5].find("parallel.cfg: must be a whole number from 1 to 2, or auto") != std::string::npos);
  CHECK(list[7].find("parallel: must be a mapping") != std::string::npos);
}

TEST_CASE("job file: keys at the wrong level are sent home") {
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("f.yaml", problems, sources);
  JobFile job;
  read_job(from_json({{"height", 64}, {"modle", "x"}, {"crf", 3}}, 2), job, reading);
  REQUIRE(problems.list().size() == 3);
  CHECK(problems.list()[0] == "f.yaml:2: crf: unknown key; did you mean 'video.crf'?");
  CHECK(problems.list()[1] == "f.yaml:2: height: unknown key; did you mean 'sampling.height'?");
  CHECK(problems.list()[2] == "f.yaml:2: modle: unknown key; did you mean 'model'?");
}

TEST_CASE("job file: sections of other jobs are mappings and left alone") {
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("f.yaml", problems, sources);
  JobFile job;
  read_job(
      from_json(
          {{"train", {{"anything", 1}}}, {"preprocess", nullptr}, {"dataset", nlohmann::json::object()}}, 2),
      job, reading);
  CHECK(problems.empty());
  read_job(from_json({{"preprocess", "x"}}, 2), job, reading);
  REQUIRE(problems.list().size() == 1);
  CHECK(problems.list()[0] == "f.yaml:2: preprocess: must be a mapping (key: value); found the text 'x'");
  read_job(from_json({{"preprocess", {{"anything", 1}}}}, 2), job, reading);
  REQUIRE(problems.list().size() == 2);
  CHECK(problems.list()[1] == "f.yaml:2: preprocess.anything: unknown key; preprocess has none");
}

TEST_CASE("tables: keys differ, every row has a meaning, what is printed can be read") {
  std::set<std::string> keys;
  for (const auto& field : job_fields()) {
    CHECK(keys.insert(field.key).second);
    CHECK_FALSE(field.meaning.empty());
  }
  JobFile job;
  job.model = str("m");
  job.output = str("o");
  job.prompts = text_value("p.txt", 1);
  job.sampling.flow_shift = 3.0;
  job.precision.vae = Dtype::float16;
  job.parallel.dp = 3;
  job.retries = 0;
  const auto printed = get_fields(job_fields(), job);
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("again", problems, sources);
  JobFile again;
  read_job(from_json(printed, 1), again, reading);
  CHECK(problems.empty());
  CHECK(get_fields(job_fields(), again) == printed);
  CHECK(sources.size() == 61);
}

TEST_CASE("nested: a dotted key becomes mappings") {
  CHECK(to_json(nested("a.b.c", plain_scalar("1", 5))).dump() == R"({"a":{"b":{"c":1}}})");
  CHECK(to_json(nested("a", text_value("x", 5))).dump() == R"({"a":"x"})");
  CHECK(to_json(nested("", Value{})).dump() == R"({"":null})");
  CHECK(to_json(nested(".a", Value{})).dump() == R"({"":{"a":null}})");
  CHECK_FALSE(nested("a", text_value("x", 5)).entries[0].value.quoted);
}
