#include <cxxopts.hpp>
#include <iostream>

#include "base/error.h"
#include "base/nearest.h"
#include "commands/commands.h"
#include "commands/dataset_command.h"
#include "dist/world.h"
#include "jobs/dataset.h"

namespace rushes {
namespace {

int info(const cxxopts::ParseResult& parsed, const OutputFolder& folder) {
  const bool verify = parsed.count("verify") > 0;
  FileHashes hashes;  // each file is read once
  std::cout << dataset_text(folder, verify, hashes);
  if (!verify) return kExitDone;
  const std::vector<std::string> wrong = verify_dataset(folder, hashes);
  for (const std::string& line : wrong)
    std::cout << "wrong: " << line << "\n";
  std::cout << (wrong.empty() ? "every file is as recorded\n" : "");
  return wrong.empty() ? kExitDone : kExitRegressed;
}

int export_samples(const cxxopts::ParseResult& parsed, const OutputFolder& folder) {
  Problems problems;
  ExportOptions options;
  if (parsed.count("to") == 0) problems.add("--to is missing: the folder for the tar files");
  const std::string format = parsed["format"].as<std::string>();
  if (format != "webdataset") problems.add("--format is '", format, "'; it can be webdataset");
  const auto clips = whole_number(parsed["tar-clips"].as<std::string>(), "tar-clips", problems);
  const auto megabytes = whole_number(parsed["tar-mb"].as<std::string>(), "tar-mb", problems);
  if (clips && *clips < 1) problems.add("--tar-clips is ", *clips, "; give at least 1");
  if (megabytes && (*megabytes < 1 || *megabytes > 1'000'000))
    problems.add("--tar-mb is ", *megabytes, "; give 1 to 1000000");
  problems.throw_if_any();
  options.to = parsed["to"].as<std::string>();
  options.most_clips = *clips;
  options.most_bytes = *megabytes << 20;
  const ExportCount count = export_webdataset(folder, options);
  std::cout << count.samples << " samples in " << count.files << (count.files == 1 ? " file" : " files")
            << " in " << options.to.string() << "\n";
  return kExitDone;
}

}  // namespace

int dataset_command(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "build") return dataset_build_command(argc - 1, argv + 1);
  return answer_errors("dataset", [&] {
    cxxopts::Options options("rushes dataset", "The data set (save: [hdf5]) in an output folder.");
    options.positional_help("info|export OUTPUT (build has a --help of its own)");
    options.add_options()                                                                             //
        ("action", "info: what it holds; export: as other files", cxxopts::value<std::string>(), "")  //
        ("output", "the job's output folder", cxxopts::value<std::string>(), "OUTPUT")                //
        ("verify", "info: read every file and compare checksums")                                     //
        ("to", "export: folder for the files", cxxopts::value<std::string>(), "DIR")                  //
        ("format", "export: webdataset", cxxopts::value<std::string>()->default_value("webdataset"))  //
        ("tar-clips", "export: clips of one tar at most",
         cxxopts::value<std::string>()->default_value("1000"))(
            "tar-mb", "export: MiB of one tar, after which the next begins",
            cxxopts::value<std::string>()->default_value("1024"))  //
        ("help", "show this");
    options.parse_positional({"action", "output"});
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    refuse_words(parsed.unmatched(), "dataset");
    if (parsed.count("output") == 0)
      fail("what to do, or the output folder, is missing: rushes dataset info OUTPUT");
    const std::string action = parsed["action"].as<std::string>();
    const std::vector<std::string> actions = {"info", "build", "export"};
    if (action != "info" && action != "export")
      fail("'", action, "' is no action of rushes dataset", did_you_mean(action, actions));
    const OutputFolder folder = OutputFolder::open(parsed["output"].as<std::string>());
    return action == "info" ? info(parsed, folder) : export_samples(parsed, folder);
  });
}

}  // namespace rushes
