#include <unistd.h>

#include <chrono>
#include <cxxopts.hpp>
#include <filesystem>
#include <iostream>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "commands/commands.h"
#include "commands/status_command.h"
#include "dist/world.h"
#include "jobs/status.h"

namespace rushes {
namespace {

constexpr size_t kColumns = 100;

/// Shows the folder until nobody works on it. On a terminal the picture stays in place; elsewhere a new one
/// is printed when something changed.
void watch(StatusReader& reader, const std::string& root) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  std::string shown;
  while (true) {
    const StatusReport report = reader.look();
    const std::string text = status_text(report, root, kColumns);
    if (terminal) {
      std::cout << "\x1b[H\x1b[J" << text << std::flush;
    } else if (text != shown) {
      std::cout << text << std::flush;
    }
    shown = text;
    if (!report.running || !std::cout) return;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

/// True once a run is there; before that a submitted job may wait in Slurm's queue.
bool has_begun(const std::string& root, bool watching) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = root, submitted = folder / "slurm" / "submitted",
                 owners = folder / ".rushes/owners";
  if (!fs::exists(submitted, error) || fs::exists(folder / ".rushes", error)) return true;
  const std::string id = one_line(read_file(submitted, 100));
  std::cout << root << ": submitted as batch job " << id << "; no run has begun yet (squeue -j " << id
            << " shows whether it waits)" << std::endl;
  const auto nobody = [&] { return fs::directory_iterator(owners, error) == fs::directory_iterator(); };
  while (watching && std::cout && nobody())
    std::this_thread::sleep_for(std::chrono::seconds(1));
  return watching;
}

}  // namespace

int status_command(int argc, char** argv) {
  return answer_errors("status", [&] {
    cxxopts::Options options("rushes status", "Shows how far the runs over an output folder are.");
    options.positional_help("OUTPUT");
    options.add_options()                                                               //
        ("output", "the job's output folder", cxxopts::value<std::string>(), "OUTPUT")  //
        ("watch", "go on showing it until nobody works on it")("help", "show this");
    options.parse_positional({"output"});
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    refuse_words(parsed.unmatched(), "status");
    if (parsed.count("output") == 0) fail("the output folder is missing: rushes status OUTPUT");
    const std::string root = parsed["output"].as<std::string>();
    if (!has_begun(root, parsed.count("watch") > 0)) return static_cast<int>(kExitDone);
    StatusReader reader(root);
    if (parsed.count("watch") > 0) {
      watch(reader, root);
    } else {
      std::cout << status_text(reader.look(), root, kColumns);
    }
    return static_cast<int>(kExitDone);
  });
}

}  // namespace rushes
