#include "models/tokenizers/t5.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/quote.h"
#include "models/tokenizers/fast_tokenizer.h"
#include "models/tokenizers/json_checks.h"
#include "models/tokenizers/sentencepiece_model.h"
#include "models/tokenizers/tokenizer_json.h"
#include "models/tokenizers/tokenizer_settings.h"

namespace rushes {
namespace {

using nlohmann::json;

// transformers gives T5's Unigram this id for unknown text, whatever the files say.
constexpr int32_t kT5UnknownId = 2;

json value_of(const json& object, const char* key) {
  return object.contains(key) ? object[key] : json();
}

std::vector<AddedToken> sentinels(int64_t count) {
  std::vector<AddedToken> result;
  for (int64_t i = 0; i < count; ++i) {
    result.push_back({.content = str("<extra_id_", i, ">")});
  }
  return result;
}

/// additional_special_tokens as T5Tokenizer completes them.
std::vector<AddedToken> complete_additional(std::optional<std::vector<AddedToken>> given, int64_t extra_ids,
                                            const std::string& where) {
  const std::vector<AddedToken> all = sentinels(extra_ids);
  if (!given) return all;
  const auto there = std::count_if(given->begin(), given->end(), [](const AddedToken& token) {
    return token.content.find("<extra_id_") != std::string::npos;
  });
  if (there == 0) {
    given->insert(given->end(), all.begin(), all.end());
  } else if (extra_ids > 0 && extra_ids != there) {
    fail(where, ": additional_special_tokens has ", there, " tokens <extra_id_N> where extra_ids is ",
         extra_ids);
  }
  return *given;
}

/// The normalizer that T5Tokenizer takes over: the first Precompiled, on its own or in one Sequence.
std::optional<std::string> t5_charsmap(const json& normalizer, const std::string& where) {
  if (!normalizer.is_object()) return std::nullopt;
  const bool sequence = value_of(normalizer, "type") == "Sequence";
  const json list = sequence ? member(normalizer, "normalizers", where) : json::array({normalizer});
  for (const json& each : list) {
    if (each.is_object() && value_of(each, "type") == "Precompiled" &&
        each.contains("precompiled_charsmap")) {
      return from_base64(text_member(each, "precompiled_charsmap", where), where);
    }
  }
  return std::nullopt;
}

/// Says what the file asks for that transformers' T5Tokenizer, and so this, does not do.
void tell_differences(const json& file, const UnigramSpec& spec, const std::string& where) {
  std::vector<std::string> differences;
  if (spec.unknown_id != kT5UnknownId) {
    differences.push_back(spec.unknown_id ? str("unk_id ", *spec.unknown_id) : "no unk_id");
  }
  if (spec.byte_fallback) differences.push_back("byte_fallback");
  const json normalizer = value_of(file, "normalizer");
  const json list = value_of(normalizer.is_object() ? normalizer : json::object(), "type") == "Sequence"
                        ? member(normalizer, "normalizers", where)
                        : json::array({normalizer});
  for (const json& each : list) {
    if (each.is_object() && value_of(each, "type") != "Precompiled") {
      differences.push_back("normalizer " + brief(value_of(each, "type")));
    }
  }
  const json cutter = value_of(file, "pre_tokenizer");
  const json expected = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "WhitespaceSplit"}},
        {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}, {"split", true}}}}};
  if (cutter != expected) differences.push_back("its own pre_tokenizer");
  if (!differences.empty()) {
    log_info(where, ": as in transformers 5, the class T5Tokenizer leaves aside ", join(differences, ", "));
  }
}

struct T5Source {
  UnigramSpec spec;
  std::optional<std::string> charsmap;
};

T5Source from_tokenizer_json(const json& file, const std::string& where) {
  T5Source source;
  source.spec = parse_unigram(member(file, "model", where), where);
  tell_differences(file, source.spec, where);
  source.charsmap = t5_charsmap(value_of(file, "normalizer"), where);
  return source;
}

T5Source from_sentencepiece(const std::string& bytes, const std::string& where, TokenizerSettings& settings) {
  const SentencePieceModel model = parse_sentencepiece_model(bytes, where);
  if (model.model_type != 1)
    fail(where, ": the SentencePiece model is of type ", model.model_type, ", not Unigram (1)");
  T5Source source;
  settings.additional = std::vector<AddedToken>();
  for (const SentencePiece& piece : model.pieces) {
    source.spec.pieces.emplace_back(piece.text, piece.score);
    const bool control = piece.kind == PieceKind::control;
    if (control || piece.kind == PieceKind::user_defined) {
      settings.additional->push_back({.content = piece.text, .special = control});
    }
  }
  for (int64_t i = settings.extra_ids - 1; i >= 0; --i) {
    source.spec.pieces.emplace_back(str("<extra_id_", i, ">"), 0.0);
  }
  if (!model.charsmap.empty()) source.charsmap = model.charsmap;
  return source;
}

int64_t id_of(const AddedTokens& tokens, const std::string& content, const char* name,
              const std::string& where) {
  const int64_t id = tokens.find(content);
  if (id < 0) fail(where, ": the ", name, " ", quote_name(content), " is no token");
  return id;
}

}  // namespace

std::unique_ptr<Tokenizer> make_t5_tokenizer(const TokenizerFiles& files, const std::string& where) {
  const bool with_json = !files.tokenizer_json.empty();
  if (!with_json && files.sentencepiece.empty()) {
    fail(where, ": has neither tokenizer.json nor spiece.model");
  }
  const std::string source_where = where + (with_json ? "/tokenizer.json" : "/spiece.model");
  const json file = with_json ? parse_tokenizer_json(files.tokenizer_json, source_where) : json();
  TokenizerSettings settings = parse_tokenizer_settings(files, file, where);
  T5Source source = with_json ? from_tokenizer_json(file, source_where)
                              : from_sentencepiece(files.sentencepiece, source_where, settings);
  source.spec.unknown_id = kT5UnknownId;
  source.spec.byte_fallback = false;
  for (const auto& [name, content] :
       {std::pair("eos_token", "</s>"), {"unk_token", "<unk>"}, {"pad_token", "<pad>"}}) {
    settings.named.try_emplace(name, AddedToken{.content = content});
  }

  const auto model = std::make_shared<const Unigram>(source.spec, source_where);
  std::vector<Normalizer> normalizers;
  if (source.charsmap) normalizers.push_back(precompiled_normalizer(*source.charsmap, source_where));
  const auto added = std::make_shared<AddedTokens>(*model, normalizers);
  const std::vector<AddedToken> additional =
      complete_additional(settings.additional, settings.extra_ids, where + "/tokenizer_config.json");
  add_special_tokens(settings, settings.extra.value_or(additional), *added);
  if (settings.split_special_tokens) added->ignore_special();
  added->finish();

  FastTokenizerParts parts;
  parts.pre_tokenizers = t5_pre_tokenizers();
  parts.after = {id_of(*added, settings.require("eos_token", where), "eos_token", where)};
  parts.pad_id = id_of(*added, settings.require("pad_token", where), "pad_token", where);
  parts.padding = settings.padding_side.value_or(Side::right);
  parts.truncation = settings.truncation_side.value_or(Side::right);
  parts.model = model;
  parts.added = added;
  return std::make_unique<FastTokenizer>(std::move(parts));
}

std::unique_ptr<Tokenizer> make_fast_tokenizer(const TokenizerFiles& files, const std::string& where) {
  if (files.tokenizer_json.empty()) fail(where, ": has no tokenizer.json");
  const std::string json_where = where + "/tokenizer.json";
  const json file = parse_tokenizer_json(files.tokenizer_json, json_where);
  TokenizerSettings settings = parse_tokenizer_settings(files, file, where);
  if (settings.additional && !settings.extra) settings.extra = settings.additional;

  const auto model = std::make_shared<const Unigram>(
      parse_unigram(member(file, "model", json_where), json_where), json_where);
  const auto added =
      std::make_shared<AddedTokens>(*model, parse_normalizers(value_of(file, "normalizer"), json_where));
  for (const json& token : value_of(file, "added_tokens")) {
    const AddedToken parsed = parse_added_token(token, json_where);
    added->add({parsed});
    const int64_t id = count_member(token, "id", json_where);
    if (added->find(parsed.content) != id) {
      fail(json_where, ": added_tokens: ", quote_name(parsed.content), " is declared as ", id,
           " where its place is ", added->find(parsed.content));
    }
  }
  add_special_tokens(settings, settings.extra.value_or(std::vector<AddedToken>()), *added);
  if (settings.split_special_tokens) added->ignore_special();
  added->finish();

  FastTokenizerParts parts;
  parts.pre_tokenizers = parse_pre_tokenizers(value_of(file, "pre_tokenizer"), json_where);
  const Template around = parse_template(value_of(file, "post_processor"), json_where);
  const int64_t vocabulary = std::max(model->size(), added->end());
  for (const auto* ids : {&around.before, &around.after}) {
    for (const int64_t id : *ids) {
      if (id < 0 || id >= vocabulary)
        fail(json_where, ": the template has the token id ", id, ", there are ", vocabulary, " tokens");
    }
  }
  parts.before = around.before;
  parts.after = around.after;
  const json padding = value_of(file, "padding");
  if (padding.is_object() && !settings.named.contains("pad_token")) {
    settings.named["pad_token"] = AddedToken{.content = text_member(padding, "pad_token", json_where)};
  }
  parts.pad_id = id_of(*added, settings.require("pad_token", where), "pad_token", where);
  parts.padding = settings.padding_side.value_or(Side::right);
  parts.truncation = settings.truncation_side.value_or(Side::right);
  parts.model = model;
  parts.added = added;
  return std::make_unique<FastTokenizer>(std::move(parts));
}

}  // namespace rushes
