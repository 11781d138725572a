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
#include "weights/hub/cached.h"
#include "weights/hub/pull.h"
#include "weights/hub/pull_progress.h"

namespace rushes {
namespace {

const std::vector<std::string> kActions = {"pull", "verify", "list"};
constexpr size_t kMostTroubles = 5;  // told of one commit

/// "whole: 13 files, 1.2 GB", or what lacks and what to do, in lines.
std::string state_text(const hub::CachedCommit& row) {
  const std::string pull_it = "'rushes weights pull " + row.text() + "'";
  const std::string next = "\n      ";
  if (row.commit.empty())
    return row.bytes == 0 ? "nothing is there yet: " + pull_it + " fetches it"
                          : str("no commit is there, only ", hub::bytes_text(row.bytes),
                                " of contents: ", pull_it, " goes on with them");
  if (!row.listed)
    return "it is not known whether it is whole: the list of its files is not here" + next + pull_it +
           " fetches the list, and what is missing";
  if (!row.refusal.empty()) return "it cannot be used: " + row.refusal;
  if (row.whole()) return str("whole: ", row.files, " files, ", hub::bytes_text(row.bytes));
  std::string text =
      str("not whole: ", row.there, " of ", row.all_known ? "" : "at least ", row.files, " files are there, ",
          hub::bytes_text(row.bytes), " of ", hub::bytes_text(row.all_bytes));
  const size_t most = std::min(row.troubles.size(), kMostTroubles);
  for (size_t i = 0; i < most; ++i)
    text += next + row.troubles[i];
  if (most < row.troubles.size()) text += next + str("and ", row.troubles.size() - most, " more");
  return text + next + pull_it + " fetches what is missing or damaged";
}

void print_cached(const hub::Settings& settings, std::ostream& out) {
  const std::vector<hub::CachedCommit> list = hub::list_cached(settings);
  out << settings.cache.string() << (list.empty() ? ": no models" : "") << "\n";
  for (const hub::CachedCommit& row : list) {
    out << "  " << row.name;
    if (!row.commit.empty())
      out << "@" << row.commit << (row.revisions.empty() ? "" : " (" + join(row.revisions, ", ") + ")");
    out << "  " << state_text(row) << "\n";
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
    if (action == "convert")
      fail("rushes weights convert is not there yet; models in the Diffusers layout run as they are");
    if (std::find(kActions.begin(), kActions.end(), action) == kActions.end())
      fail("rushes weights ", action.empty() ? "needs" : "'" + action + "': it takes", " one of ",
           join(kActions, ", "), did_you_mean(action, kActions));
    return act(action, parsed);
  });
}

}  // namespace rushes
