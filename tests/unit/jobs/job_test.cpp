#include "jobs/job.h"

#include <catch2/catch.hpp>

#include "attention/fastest_attention.h"
#include "config/job_file.h"
#include "config/yaml/yaml.h"
#include "jobs/presets.h"
#include "jobs/resolution.h"
#include "support/folder.h"

using namespace rushes;

namespace {

using List = std::vector<std::string>;

List load_problems(const TestFolder& folder, const std::string& text, const JobOverrides& overrides = {}) {
  const std::string path = folder.write("job.yaml", text);
  try {
    load_job(path, overrides);
  } catch (const UserError& error) {
    List list = error.problems();
    for (std::string& problem : list) {
      for (size_t at = problem.find(path); at != std::string::npos; at = problem.find(path))
        problem.replace(at, path.size(), "job.yaml");
    }
    return list;
  }
  return {"no error"};
}

/// A model folder that has configs and nothing else.
ModelDir fake_model(const TestFolder& folder, const nlohmann::json& transformer, bool two_experts) {
  nlohmann::json index = {{"_class_name", "WanPipeline"},
                          {"transformer", {"diffusers", "WanTransformer3DModel"}}};
  for (const char* key : {"transformer", "transformer_2"}) {
    std::filesystem::create_directory(folder / key);
    folder.write(str(key, "/config.json"), transformer.dump());
  }
  if (two_experts) index["transformer_2"] = {"diffusers", "WanTransformer3DModel"};
  folder.write("model_index.json", index.dump());
  return ModelDir::open(folder.path());
}

nlohmann::json wan_config(int64_t layers, int64_t heads) {
  return {{"_class_name", "WanTransformer3DModel"},
          {"num_layers", layers},
          {"num_attention_heads", heads},
          {"attention_head_dim", 128},
          {"in_channels", 16}};
}

}  // namespace

TEST_CASE("load_job: everything wrong at once, prompts and --set included") {
  const TestFolder folder;
  folder.write("p.txt", "good\nb\xFF\n");
  JobOverrides overrides;
  overrides.set = {{"sampling.sed", "1"}, {"retries", "[1"}, {"video.crf", "99"}};
  const List list = load_problems(folder,
                                  "job: train\n"
                                  "model: no/such/model\n"
                                  "prompts: " +
                                      (folder / "p.txt").string() +
                                      "\n"
                                      "output: runs/{when}\n"
                                      "numerics: official\n"
                                      "sampling: {height: 0}\n",
                                  overrides);
  REQUIRE(list.size() == 9);
  CHECK(list[0].find("--set retries:1:") == 0);
  CHECK(list[1].find("job.yaml:6: sampling.height: must be a whole number") == 0);
  CHECK(list[2] == "--set: sampling.sed: unknown key; did you mean 'seed'?");
  CHECK(list[3] == "--set: video.crf: must be a whole number from 0 to 51; found the number 99");
  CHECK(list[4] ==
        "job.yaml:1: job: train is not there yet; this version does generate, regress, preprocess");
  CHECK(list[5] == "job.yaml:5: numerics: official is not there yet; this version does diffusers");
  CHECK(list[6].find("job.yaml:2: model: no folder 'no/such/model' here") == 0);
  CHECK(list[7].find("p.txt:2: is not UTF-8") != std::string::npos);
  CHECK(list[8].find("job.yaml:4: output: '{when}' is not filled in") == 0);
}

TEST_CASE("load_job: a file that is no job") {
  const TestFolder folder;
  CHECK(load_problems(folder, "") == List{"job.yaml: is empty; it needs model, prompts and output"});
  CHECK(load_problems(folder, "- a\n- b\n").front() ==
        "job.yaml:1: must be a mapping (key: value); found a list");
  CHECK(load_problems(folder, "just words").front() ==
        "job.yaml:1: must be a mapping (key: value); found the text 'just words'");
  CHECK_THROWS_AS(load_job(folder.path(), {}), UserError);
  CHECK_THROWS_AS(load_job(folder / "none.yaml", {}), UserError);
}

TEST_CASE("load_job: no prompts, model and output are three problems") {
  const TestFolder folder;
  CHECK(load_problems(folder, "job: generate\n").size() == 3);
  CHECK(load_problems(folder, "model: ''\noutput: ''\nprompts: []\n") ==
        List{"job.yaml:1: model: missing; give a model folder",
             "job.yaml:2: output: missing; give a folder for the results",
             "job.yaml: prompts: there are none; one at least is needed"});
}

TEST_CASE("output: words in braces are filled in") {
  Problems problems;
  JobFile job;
  const auto fill = [&](const char* output, const char* model) {
    job.output = str(output);
    job.model = str(model);
    return fill_output(job, "jobs/nightly.yaml", "2026-11-21", "f:1", problems);
  };
  CHECK(fill("runs/{date}/{job}-{model}", "models/wan/") == "runs/2026-11-21/nightly-wan");
  CHECK(fill("{model}", "org/Wan-1.3B@main") == "Wan-1.3B");
  CHECK(fill("plain", "m") == "plain");
  CHECK(fill("a{b", "m") == "a{b");
  CHECK(problems.empty());
  fill("{}", "m");
  fill("{Date}", "m");
  REQUIRE(problems.list().size() == 2);
  CHECK(problems.list()[1] ==
        "f:1: output: '{Date}' is not filled in; {date}, {job} and {model} are; did you mean 'date'?");
  CHECK(today().size() == 10);
}

TEST_CASE("resolution: number formats follow the device") {
  Problems problems;
  JobFile job;
  job.device = DeviceKind::cpu;
  PipelineOptions options = resolve_options(job, false, "f:1", problems);
  CHECK(options.device.is_cpu());
  CHECK(options.transformer == Dtype::float32);
  CHECK(options.attention == fastest_attention(at::kCPU, Dtype::float32));
  job.attention = "flash";
  job.precision.transformer = Dtype::float16;
  problems = {};
  resolve_options(job, false, "f:1", problems);
  REQUIRE(problems.list().size() == 1);
  CHECK(problems.list()[0].find("attention: flash runs on CPUs") != std::string::npos);
  problems = {};
  job.attention = "auto";
  job.precision.transformer.reset();
  job.device = DeviceKind::cuda;
  job.precision.text_encoder = Dtype::float16;
  job.attention = str("reference");
  options = resolve_options(job, /*device_elsewhere=*/true, "f:1", problems);
  CHECK(options.device.is_cuda());
  CHECK(options.transformer == Dtype::bfloat16);
  CHECK(options.vae == Dtype::float32);
  CHECK(options.text_encoder == Dtype::float16);
  CHECK(options.attention == AttentionBackend::reference);
  CHECK(problems.empty());
  const RequestFacts facts = request_facts(job, options, "abc");
  CHECK(facts.device == "cuda");
  CHECK(facts.attention == "reference");
  CHECK(facts.numerics == "diffusers");
}

TEST_CASE("resolution: the resolved job is a job file with the same values") {
  Problems problems;
  std::map<std::string, std::string> sources;
  JobFile job;
  Reading reading("job.yaml", problems, sources);
  read_job(
      parse_yaml(
          "model: 'a: b # c'\noutput: runs/x\nprompts: [one, {prompt: 'two: #', seed: 3}, \"3\", \"a\\nb\"]\n"
          "sampling: {negative_prompt: \"'quoted' \\\"words\\\"\", guidance_scale: 7, flow_shift: null}\n"
          "precision: {vae: bfloat16}\nsave: [frames, video]\nreject: []\nmetrics: 'a: b.prom'\n",
          "job.yaml"),
      job, reading);
  REQUIRE(problems.empty());
  job.device = DeviceKind::cpu;
  const JobFile resolved = with_options(job, resolve_options(job, false, "job.yaml", problems));
  const auto rows = setting_rows(job, resolved, sources);
  const std::string yaml = rows_to_yaml(rows, "title");
  INFO(yaml);
  JobFile again;
  std::map<std::string, std::string> all;
  Reading second("again", problems, all);
  read_job(parse_yaml(yaml, "again"), again, second);
  CHECK(problems.list().empty());
  CHECK(get_fields(job_fields(), again) == get_fields(job_fields(), resolved));
  CHECK(all.size() == rows.size());
  const auto row = [&](const std::string& key) {
    for (const SettingRow& found : rows) {
      if (found.key == key) return found.value + " | " + found.source;
    }
    return std::string();
  };
  CHECK(row("sampling.guidance_scale") == "7.0 | job.yaml:4");
  CHECK(row("sampling.flow_shift") == "null | job.yaml:4");
  CHECK(row("sampling.height") == "480 | default");
  CHECK(row("precision.vae") == "bfloat16 | job.yaml:5");
  CHECK(row("precision.transformer") == "float32 | default (auto)");
  CHECK(row("save") == "[frames, video] | job.yaml:6");
  CHECK(row("reject") == "[] | job.yaml:7");
}

TEST_CASE("presets: chosen by what the model's files say") {
  Problems problems;
  const auto preset = [&](const nlohmann::json& config, bool two_experts) {
    const TestFolder folder;
    const auto found = find_preset(configs_folder(), fake_model(folder, config, two_experts), problems);
    Sampling sampling;
    std::map<std::string, std::string> sources;
    Reading reading("preset", problems, sources);
    if (found) read_fields(sampling_fields(), sampling, found->sampling, "", reading);
    return found ? found->file + " " + to_json(found->sampling).dump() : std::string();
  };
  CHECK(preset(wan_config(30, 12), false).find("configs/models/wan2.1-t2v-1.3b.yaml {\"height\":480,") == 0);
  CHECK(preset(wan_config(40, 40), false).find("configs/models/wan2.1-t2v-14b.yaml {\"height\":720,") == 0);
  CHECK(preset(wan_config(40, 40), true).empty());  // Wan 2.2's experts
  CHECK(preset(wan_config(6, 6), false).empty());
  CHECK(problems.list().empty());
}

TEST_CASE("presets: broken and ambiguous ones are told") {
  const TestFolder configs, model;
  std::filesystem::create_directories(configs / "models");
  const std::string good = "match: {transformer: {num_layers: 30}}\nsampling: {height: 64}\n";
  configs.write("models/a.yaml", good);
  configs.write("models/b.yaml", good);
  configs.write("models/c.yaml", "sampling: {height: 64}\n");
  configs.write("models/d.yaml", "match: {pipeline: WanPipeline}\nsampling: [1]\nname: x\n");
  configs.write("models/e.yaml", "match: [\n");
  configs.write("models/notes.txt", "[");
  Problems problems;
  find_preset(configs.path(), fake_model(model, wan_config(30, 12), false), problems);
  const List& list = problems.list();
  REQUIRE(list.size() == 6);
  CHECK(list[0].find("models/b.yaml: fits this model as well as") != std::string::npos);
  CHECK(list[1].find("models/c.yaml: match: missing") != std::string::npos);
  CHECK(list[2].find("models/d.yaml:2: sampling: must be a mapping") != std::string::npos);
  CHECK(list[3].find("models/d.yaml:3: name: unknown key; the keys here are match, sampling") !=
        std::string::npos);
  CHECK(list[4].find("models/d.yaml: fits this model as well as") != std::string::npos);
  CHECK(list[5].find("models/e.yaml:") != std::string::npos);
}
