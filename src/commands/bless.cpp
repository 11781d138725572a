#include <cxxopts.hpp>
#include <iostream>

#include "base/error.h"
#include "commands/bless_command.h"
#include "commands/commands.h"
#include "dist/world.h"
#include "jobs/regress.h"

namespace rushes {

int bless_command(int argc, char** argv) {
  return answer_errors("bless", [&] {
    cxxopts::Options options("rushes bless",
                             "Makes an output folder's clips the references; the old ones are kept.");
    options.positional_help("OUTPUT");
    options.add_options()                                                                             //
        ("output", "the job's output folder", cxxopts::value<std::string>(), "OUTPUT")                //
        ("references", "the folder of the references", cxxopts::value<std::string>(), "DIR")          //
        ("only", "this clip alone (may be given again)", cxxopts::value<std::string>(), "ID")         //
        ("min-ssim", "from now on what this model's clips need", cxxopts::value<std::string>(), "X")  //
        ("drop-missing", "references without a clip in the output go (their versions stay)")          //
        ("upload", "also make this folder: the current references alone, ready for a hub",            //
         cxxopts::value<std::string>(), "NEW_DIR")                                                    //
        ("help", "show this");
    options.parse_positional({"output"});
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    refuse_words(parsed.unmatched(), "bless");
    Problems problems;
    if (parsed.count("output") == 0)
      problems.add("the output folder is missing: rushes bless OUTPUT --references DIR");
    if (parsed.count("references") == 0 || parsed["references"].as<std::string>().empty())
      problems.add("--references DIR is missing: where the references are to lie");
    BlessRequest request;
    if (parsed.count("min-ssim") > 0)
      request.model_min_ssim = ssim_option(parsed["min-ssim"].as<std::string>(), problems);
    problems.throw_if_any();
    request.output = parsed["output"].as<std::string>();
    request.references = parsed["references"].as<std::string>();
    for (const auto& option : parsed.arguments()) {
      if (option.key() == "only") request.only.push_back(option.value());
    }
    request.drop_missing = parsed.count("drop-missing") > 0;
    if (parsed.count("upload") > 0) request.upload = parsed["upload"].as<std::string>();
    bless(request, std::cout);
    return static_cast<int>(kExitDone);
  });
}

}  // namespace rushes
