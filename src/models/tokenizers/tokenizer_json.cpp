#include "models/tokenizers/tokenizer_json.h"

#include "base/error.h"
#include "base/quote.h"
#include "models/tokenizers/json_checks.h"
#include "weights/model_dir.h"

namespace rushes {

using nlohmann::json;

json parse_tokenizer_json(const std::string& text, const std::string& where) {
  json file = parse_json(text, where);
  if (!file.is_object()) fail(where, ": must be an object, not ", brief(file));
  only_keys(file,
            {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"},
            where);
  if (file.contains("version") && file["version"] != "1.0") {
    fail(where, ": version is ", brief(file["version"]), ", not \"1.0\"");
  }
  if (file.contains("added_tokens") && !file["added_tokens"].is_array()) {
    fail(where, ": added_tokens must be a list, not ", brief(file["added_tokens"]));
  }
  return file;
}

UnigramSpec parse_unigram(const json& model, const std::string& where) {
  const json& vocabulary = member(model, "vocab", where);
  const std::string type = model.contains("type")
                               ? text_member(model, "type", where)
                               : std::string(vocabulary.is_array() ? "Unigram" : "no type");
  if (type != "Unigram") fail(where, ": the model ", quote_name(type), " is not supported (only Unigram is)");
  only_keys(model, {"type", "unk_id", "vocab", "byte_fallback"}, where);
  if (!vocabulary.is_array())
    fail(where, ": vocab must be a list of [piece, score], not ", brief(vocabulary));
  UnigramSpec spec;
  spec.pieces.reserve(vocabulary.size());
  for (const json& entry : vocabulary) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      fail(where, ": vocab: entry ", spec.pieces.size(),
           " is no [piece, score]: ", entry.dump(-1, ' ', true).substr(0, 60));
    }
    spec.pieces.emplace_back(entry[0].get<std::string>(), entry[1].get<double>());
  }
  if (model.contains("unk_id") && !model["unk_id"].is_null())
    spec.unknown_id = count_member(model, "unk_id", where);
  spec.byte_fallback = flag_member(model, "byte_fallback", false, where);
  return spec;
}

namespace {

void read_template(const json& processor, const std::string& where, Template& result) {
  only_keys(processor, {"type", "single", "pair", "special_tokens"}, where);
  const json& single = member(processor, "single", where);
  bool text_seen = false;
  for (const json& part : single) {
    if (part.is_object() && part.contains("Sequence")) {
      if (text_seen || text_member(part["Sequence"], "id", where) != "A") {
        fail(where, ": the template for one text must hold that text once");
      }
      text_seen = true;
      continue;
    }
    const json& special = member(part, "SpecialToken", where);
    const json& token =
        member(member(processor, "special_tokens", where), text_member(special, "id", where), where);
    for (const json& id : member(token, "ids", where)) {
      if (!id.is_number_integer() || id < 0) fail(where, ": the template has the token id ", brief(id));
      (text_seen ? result.after : result.before).push_back(id.get<int64_t>());
    }
  }
  if (!text_seen) fail(where, ": the template for one text leaves that text out");
}

}  // namespace

Template parse_template(const json& processor, const std::string& where) {
  Template result;
  if (processor.is_null()) return result;
  const std::string type = text_member(processor, "type", where);
  if (type == "TemplateProcessing") {
    read_template(processor, where, result);
  } else if (type == "Sequence") {
    only_keys(processor, {"type", "processors"}, where);
    bool found = false;
    for (const json& each : member(processor, "processors", where)) {
      const std::string inner = text_member(each, "type", where);
      if (inner == "ByteLevel") continue;  // it changes offsets only
      if (inner != "TemplateProcessing" || found) {
        fail(where, ": the post-processor Sequence may hold one TemplateProcessing, not ", quote_name(inner));
      }
      found = true;
      read_template(each, where, result);
    }
  } else {
    fail(where, ": the post-processor ", quote_name(type), " is not supported (only TemplateProcessing is)");
  }
  return result;
}

}  // namespace rushes
