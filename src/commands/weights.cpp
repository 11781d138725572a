#include <algorithm>
#include <cxxopts.hpp>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "commands/commands.h"
#include "commands/weights_command.h"
#include "dist/world.h"
#include "weights/hub/pull.h"
#include "weights/hub/pull_progress.h"

namespace rushes {
namespace {

const std::vector<std::string> kActions = {"pull", "verify", "list"};

void print_cached(const hub::Settings& settings, std::ostream& out) {
  const std::vector<hub::CachedCommit> list = hub::list_cached(settings);
  out << settings.cache.string() << (list.empty() ? ": no models" : "") << "\n";
  for (const hub::CachedCommit& row : list) {
    out << "  " << row.model.name << "@" << row.commit;
    if (row.model.revision != row.commit) out << " (" << row.model.revision << ")";
    if (row.files.empty()) {
      out << "  its list of files is not here; 'rushes weights pull' fetches it\n";
      continue;
    }
    out << "  " << row.files.size() << " files, " << hub::bytes_text(row.bytes)
        << (row.whole ? "" : ", not whole: 'rushes weights pull' goes on") << "\n";
  }
}

int act(const std::string& action, const cxxopts::ParseResult& parsed) {
  const bool named = parsed.count("model") > 0;
  if (action == "list") {
    if (named) fail("rushes weights list takes no model: it lists all");
    print_cached(hub::settings_from_env(), std::cout);
    return kExitDone;
  }
  if (!named) fail("the model is missing: rushes weights ", action, " ORG/NAME[@REVISION]");
  const hub::ModelId model = hub::parse_model_id(parsed["model"].as<std::string>());
  const hub::Settings settings = hub::settings_from_env();
  if (action == "pull") {
    const hub::Pulled pulled = hub::pull(model, settings, {});
    log_info(pulled.pinned());
    std::cout << pulled.folder.string() << "\n";
  } else {
    const size_t files = hub::verify(model, settings);
    std::cout << model.text() << ": " << files << " files, every byte as the Hub says\n";
  }
  return kExitDone;
}

}  // namespace

int weights_command(int argc, char** argv) {
  return answer_errors("weights", [&] {
    cxxopts::Options options("rushes weights",
                             "Models of the Hugging Face Hub on this machine.\n\n"
                             "  pull     fetches what a pipeline needs of a model; prints its folder\n"
                             "  verify   reads every byte of it and compares with the Hub's hashes\n"
                             "  list     what is in the cache\n");
    options.positional_help("pull|verify|list [ORG/NAME[@REVISION]]");
    options.add_options()                                                                    //
        ("action", "pull, verify or list", cxxopts::value<std::string>(), "ACTION")          //
        ("model", "org/name, or org/name@revision", cxxopts::value<std::string>(), "MODEL")  //
        ("help", "show this");
    options.parse_positional({"action", "model"});
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    refuse_words(parsed.unmatched(), "weights");
    const std::string action = parsed.count("action") > 0 ? parsed["action"].as<std::string>() : "";
    if (std::find(kActions.begin(), kActions.end(), action) == kActions.end())
      fail("rushes weights ", action.empty() ? "needs" : "'" + action + "': it takes", " one of ",
           join(kActions, ", "), did_you_mean(action, kActions));
    return act(action, parsed);
  });
}

}  // namespace rushes
