#include <cxxopts.hpp>
#include <iostream>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/compare_command.h"
#include "dist/world.h"
#include "jobs/regress.h"

namespace rushes {

int compare_command(int argc, char** argv) {
  return answer_errors("compare", [&] {
    cxxopts::Options options("rushes compare", "Compares an output folder's clips with their references.");
    options.positional_help("OUTPUT");
    options.add_options()                                                                     //
        ("output", "the job's output folder", cxxopts::value<std::string>(), "OUTPUT")        //
        ("references", "the folder of the references", cxxopts::value<std::string>(), "DIR")  //
        ("min-ssim", "SSIM that every frame needs, whatever prompts, model and job say",      //
         cxxopts::value<std::string>(), "X")                                                  //
        ("help", "show this");
    options.parse_positional({"output"});
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    refuse_words(parsed.unmatched(), "compare");
    Problems problems;
    if (parsed.count("output") == 0)
      problems.add("the output folder is missing: rushes compare OUTPUT --references DIR");
    if (parsed.count("references") == 0 || parsed["references"].as<std::string>().empty())
      problems.add("--references DIR is missing: the folder that rushes bless made");
    const std::optional<double> min_ssim = parsed.count("min-ssim") > 0
                                               ? ssim_option(parsed["min-ssim"].as<std::string>(), problems)
                                               : std::nullopt;
    problems.throw_if_any();
    return compare_command_work(parsed["output"].as<std::string>(), parsed["references"].as<std::string>(),
                                min_ssim);
  });
}

}  // namespace rushes
