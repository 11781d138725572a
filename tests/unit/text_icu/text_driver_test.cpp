// No tests of their own: hidden cases that tests/oracle/test_tokenizer.py and test_prompt_clean.py run to put
// thousands of texts through one process. RUSHES_TEXTS_IN names a JSON file of work, RUSHES_TEXTS_OUT that of
// results.

// ATen before Catch: both have a macro CHECK, and the one wanted here is the later.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "models/registry.h"
#include "models/tokenizers/icu/nfc.h"
#include "models/tokenizers/prompt_clean.h"

using namespace rushes;
using nlohmann::json;

namespace {

json work() {
  return json::parse(read_file(std::getenv("RUSHES_TEXTS_IN")));
}

void finish(const json& results) {
  write_file_atomic(std::getenv("RUSHES_TEXTS_OUT"), results.dump(), "test");
}

std::string file_or_empty(const std::string& path) {
  return std::filesystem::exists(path) ? read_file(path) : "";
}

json tokenize(const json& job) {
  const std::string folder = job["folder"];
  const TokenizerFiles files{.tokenizer_json = file_or_empty(folder + "/tokenizer.json"),
                             .sentencepiece = file_or_empty(folder + "/spiece.model"),
                             .tokenizer_config = file_or_empty(folder + "/tokenizer_config.json"),
                             .special_tokens_map = file_or_empty(folder + "/special_tokens_map.json")};
  const auto tokenizer = make_tokenizer(job["class"], files, folder);
  json results = json::array();
  for (const json& text : job["texts"]) {
    const TokenIds ids = tokenizer->encode(text, job["max_length"]);
    results.push_back(
        {{"input_ids", ids.input_ids}, {"attention_mask", ids.attention_mask}, {"cut", ids.cut}});
  }
  return results;
}

}  // namespace

TEST_CASE("driver: tokenize", "[.]") {
  json results = json::array();
  for (const json& job : work()) {
    try {
      results.push_back(tokenize(job));
    } catch (const UserError& error) {
      results.push_back({{"error", error.what()}});
    }
  }
  finish(results);
}

TEST_CASE("driver: clean", "[.]") {
  json results = json::array();
  for (const json& text : work())
    results.push_back({fix_text(text, normalize_nfc), clean_prompt(text, normalize_nfc)});
  finish(results);
}
