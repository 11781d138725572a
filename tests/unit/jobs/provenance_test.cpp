#include "jobs/provenance.h"

#include "base/version.h"
#include "run_support.h"

using namespace rushes;
using namespace rushes::test;

namespace {

ResolvedJob some_job() {
  ResolvedJob job;
  job.facts.model = "0123456789abcdef0123456789abcdef";
  job.job.model = "/home/someone/secret/models/wan";
  return job;
}

nlohmann::json comment_of(const ResolvedJob& job, const Item& item) {
  const std::string text = provenance_tags(job, item).comment;
  CHECK(text.find('\n') == std::string::npos);
  return nlohmann::json::parse(text);
}

}  // namespace

TEST_CASE("provenance: what a clip is, in JSON, without places and builds") {
  const ResolvedJob job = some_job();
  Item item = item_of("circle", 42);
  item.prompt = "a \"red\"\n\tcircle \x01 – 猫";
  item.request_hash = hash_request(request_of(job, item));
  const VideoTags tags = provenance_tags(job, item);
  CHECK(tags.title == "a \"red\" circle – 猫");
  const nlohmann::json facts = comment_of(job, item);
  CHECK(facts.at("prompt") == item.prompt);
  CHECK(facts.at("seed") == 42);
  CHECK(facts.at("revision") == job.facts.model);
  CHECK(facts.at("request_hash") == item.request_hash);
  CHECK(facts.at("version") == "rushes " + version());
  CHECK(facts.size() == 6);
  CHECK(tags.comment.find("secret") == std::string::npos);
  CHECK(tags.comment.find(build_commit()) == std::string::npos);
}

TEST_CASE("provenance: a model of the Hub is named with its commit") {
  ResolvedJob job = some_job();
  job.job.weights_revision = "org/tiny@c0ffee";
  const nlohmann::json facts = comment_of(job, item_of("circle"));
  CHECK(facts.at("model") == "org/tiny");
  CHECK(facts.at("revision") == "c0ffee");
}

TEST_CASE("provenance: long prompts are cut between characters and say how long they were") {
  const ResolvedJob job = some_job();
  Item item = item_of("long");
  item.prompt.clear();
  while (item.prompt.size() < 10'000'000)
    item.prompt += "猫";
  const VideoTags tags = provenance_tags(job, item);
  CHECK(is_utf8(tags.title));
  CHECK(tags.title.size() <= 123);
  CHECK(tags.comment.size() < 17'000);
  const nlohmann::json facts = nlohmann::json::parse(tags.comment);
  CHECK(facts.at("prompt_bytes") == item.prompt.size());
  const auto prompt = facts.at("prompt").get<std::string>();
  CHECK(prompt.ends_with("猫..."));
  CHECK(item.prompt.starts_with(prompt.substr(0, prompt.size() - 3)));
}

TEST_CASE("provenance: clips of a night are those of job: generate, real videos have none") {
  ResolvedJob job = some_job();
  const Item plain = item_of("circle");
  ResolvedJob night = job;
  night.job.kind = JobKind::regress;
  night.facts.build = "1a2b3c4d";
  Item nightly = plain;
  nightly.request_hash = hash_request(request_of(night, nightly));
  Item of_job = plain;
  of_job.request_hash = hash_request(request_of(job, of_job));
  CHECK(nightly.request_hash != of_job.request_hash);
  CHECK(provenance_tags(night, nightly).comment == provenance_tags(job, of_job).comment);
  job.job.kind = JobKind::preprocess;
  CHECK(provenance_tags(job, plain).comment.empty());
  CHECK(provenance_tags(job, plain).title.empty());
}
