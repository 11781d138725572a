#include <cxxopts.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/env.h"
#include "base/file.h"
#include "commands/commands.h"
#include "commands/dataset_command.h"
#include "commands/job_options.h"
#include "commands/run_command.h"
#include "jobs/run_job.h"
#include "jobs/signals.h"

namespace rushes {
namespace {

cxxopts::Options build_options() {
  cxxopts::Options options(
      "rushes dataset build",
      "A folder of videos with captions as a data set: latents and embeddings by a model. "
      "Run again it goes on, and takes what is new in the folder.");
  options.positional_help("FOLDER");
  options.add_options()  //
      ("folder",
       "videos, each with a caption: a.txt beside a.mp4, metadata.jsonl or .csv, or videos2caption.json",
       cxxopts::value<std::string>(), "FOLDER")                                              //
      ("model", "model folder, or org/name[@revision]", cxxopts::value<std::string>(), "M")  //
      ("to", "the folder for the data set", cxxopts::value<std::string>(), "OUT");
  add_set_option(options);
  options.add_options()                                                                         //
      ("fresh", "make every sample again; each old one is replaced when its new one is whole")  //
      ("retry-failed", "try failed videos again, however often they were tried")                //
      ("verify", "look at every byte of what is there, not only at sizes and times")            //
      ("help", "show this");
  options.parse_positional({"folder"});
  return options;
}

RunRequest read_request(const cxxopts::ParseResult& parsed) {
  Problems problems;
  RunRequest request;
  auto& set = request.overrides.set;
  set.emplace_back("job", "preprocess");
  for (const auto& word : parsed.unmatched())
    problems.add("'", word, "': one folder is built at a time");
  for (const auto& [option, name, key, meaning] :
       {std::tuple("folder", "FOLDER", "prompts", "videos with captions"),
        std::tuple("model", "--model", "model", "a model folder, or org/name[@revision]"),
        std::tuple("to", "--to", "output", "the folder for the data set")}) {
    const std::string text = parsed.count(option) > 0 ? parsed[option].as<std::string>() : "";
    if (text.empty()) problems.add(name, " is missing: ", meaning);
    if (!is_utf8(text)) problems.add(name, " is not UTF-8");
    // In quotes, since a folder may be named 7.
    if (is_utf8(text)) set.emplace_back(key, nlohmann::json(text).dump());
  }
  read_set_options(parsed, request.overrides, problems);
  request.fresh = parsed.count("fresh") > 0;
  request.retry_failed = parsed.count("retry-failed") > 0;
  request.verify = parsed.count("verify") > 0;
  problems.throw_if_any();
  return request;
}

}  // namespace

int dataset_build_command(int argc, char** argv) {
  return answer_errors("dataset build", [&] {
    if (asks_for_help(argc, argv)) {
      if (is_first_started()) std::cout << build_options().help() << "\n";
      return static_cast<int>(kExitDone);
    }
    StopToken stop;
    const SignalStop signals(stop);
    return run_in_world(
        "dataset build", [&] { return read_request(build_options().parse(argc, argv)); }, stop);
  });
}

}  // namespace rushes
