#pragma once
// tokenizer.json of the tokenizers library, version "1.0".

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/tokenizers/unigram.h"

namespace rushes {

/// Parses the file and looks that its top level has only known keys; UserError with `where`.
nlohmann::json parse_tokenizer_json(const std::string& text, const std::string& where);

/// The value of "model": only Unigram is supported; UserError names another.
UnigramSpec parse_unigram(const nlohmann::json& model, const std::string& where);

struct Template {
  std::vector<int64_t> before, after;
};
/// The special tokens that the value of "post_processor" puts around one text: TemplateProcessing, a Sequence
/// with one, or null. UserError names what is not supported.
Template parse_template(const nlohmann::json& processor, const std::string& where);

}  // namespace rushes
