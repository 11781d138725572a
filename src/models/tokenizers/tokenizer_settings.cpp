#include "models/tokenizers/tokenizer_settings.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/error.h"
#include "base/quote.h"
#include "models/tokenizers/json_checks.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

using nlohmann::json;

// In the order in which transformers adds them.
const std::vector<std::string> kNamed = {"bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token"};

bool is_named(const std::string& key) {
  return std::find(kNamed.begin(), kNamed.end(), key) != kNamed.end();
}

std::vector<AddedToken> token_list(const json& value, const std::string& key, const std::string& where) {
  if (!value.is_array()) fail(where, ": ", key, " must be a list of tokens, not ", brief(value));
  std::vector<AddedToken> result;
  for (const json& each : value) {
    result.push_back(parse_added_token(each, where));
  }
  return result;
}

std::optional<AddedToken> named_token(const json& value, const std::string& where) {
  if (value.is_null()) return std::nullopt;
  AddedToken token = parse_added_token(value, where);
  // Being named makes a token special, and a special one is not normalized unless it says so.
  if (value.is_object() && !value.contains("normalized")) token.normalized = false;
  token.special = true;
  return token;
}

/// A token under a name of the model's own ("image_token") would be added too; no text tokenizer has one.
void refuse_own_names(const json& object, const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    if (key.ends_with("_token") && !is_named(key) && (value.is_string() || value.is_object())) {
      fail(where, ": the special token ", quote_name(key), " is not supported (only ", join(kNamed, ", "),
           ")");
    }
  }
}

void read_extra(const json& object, const std::string& where, TokenizerSettings& settings) {
  const auto extra = object.find("extra_special_tokens");
  if (extra == object.end()) return;
  if (extra->is_object()) {
    if (!extra->empty()) fail(where, ": extra_special_tokens with names of their own are not supported");
  } else {
    settings.extra =
        extra->is_null() ? std::vector<AddedToken>() : token_list(*extra, "extra_special_tokens", where);
  }
}

void read_added_tokens(const json& decoder, const std::string& where, TokenizerSettings& settings) {
  if (!decoder.is_object()) fail(where, ": added_tokens_decoder must be an object, not ", brief(decoder));
  for (const auto& [key, value] : decoder.items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      fail(where, ": added_tokens_decoder has the id ", quote_name(key));
    }
    if (!value.is_object())
      fail(where, ": added_tokens_decoder: ", key, " must be an object, not ", brief(value));
    settings.added[id] = parse_added_token(value, where);
  }
}

std::optional<Side> side(const json& object, const std::string& key, const std::string& where) {
  if (!object.contains(key)) return std::nullopt;
  const std::string name = text_member(object, key, where);
  if (name == "left" || name == "Left") return Side::left;
  if (name == "right" || name == "Right") return Side::right;
  fail(where, ": ", key, " is ", quote_name(name), ", not left or right");
}

void read_config(const json& config, const std::string& where, TokenizerSettings& settings) {
  refuse_own_names(config, where);
  for (const std::string& name : kNamed) {
    if (config.contains(name)) settings.named[name] = named_token(config[name], where);
  }
  read_extra(config, where, settings);
  if (config.contains("additional_special_tokens") && (!settings.extra || settings.extra->empty())) {
    // Null lists count as given: transformers then adds nothing.
    const json& list = config["additional_special_tokens"];
    settings.extra =
        list.is_null() ? std::vector<AddedToken>() : token_list(list, "additional_special_tokens", where);
  }
  if (config.contains("extra_ids")) settings.extra_ids = count_member(config, "extra_ids", where);
  if (settings.extra_ids > 100000) fail(where, ": extra_ids is ", settings.extra_ids);
  settings.split_special_tokens = flag_member(config, "split_special_tokens", false, where);
  settings.padding_side = side(config, "padding_side", where);
  settings.truncation_side = side(config, "truncation_side", where);
  if (config.contains("init_inputs") && !config["init_inputs"].empty()) {
    fail(where, ": init_inputs is not supported");
  }
}

/// special_tokens_map.json counts only where tokenizer_config.json has no added_tokens_decoder.
void read_special_tokens_map(const json& map, const std::string& where, TokenizerSettings& settings) {
  refuse_own_names(map, where);
  for (const std::string& name : kNamed) {
    if (map.contains(name)) settings.named[name] = named_token(map[name], where);
  }
  if (map.contains("additional_special_tokens")) {
    const json& list = map["additional_special_tokens"];
    for (const json& each : list) {
      if (!each.is_string())
        fail(where, ": additional_special_tokens must be a list of texts, not ", brief(each));
    }
    settings.additional = token_list(list, "additional_special_tokens", where);
  }
  if (map.contains("extra_special_tokens") && map["extra_special_tokens"].is_array()) {
    std::vector<AddedToken> merged = settings.extra.value_or(std::vector<AddedToken>());
    for (const AddedToken& token : token_list(map["extra_special_tokens"], "extra_special_tokens", where)) {
      if (std::find(merged.begin(), merged.end(), token) == merged.end()) merged.push_back(token);
    }
    settings.extra = merged;
  } else {
    TokenizerSettings unnamed;
    read_extra(map, where, unnamed);
  }
}

json object_of(const std::string& text, const std::string& where) {
  if (text.empty()) return json::object();
  json object = parse_json(text, where);
  if (!object.is_object()) fail(where, ": must be an object, not ", brief(object));
  return object;
}

}  // namespace

std::string TokenizerSettings::require(const std::string& name, const std::string& where) const {
  const auto found = named.find(name);
  if (found == named.end() || !found->second) fail(where, ": the tokenizer has no ", name);
  return found->second->content;
}

TokenizerSettings parse_tokenizer_settings(const TokenizerFiles& files, const json& tokenizer_json,
                                           const std::string& where) {
  TokenizerSettings settings;
  const std::string config_where = where + "/tokenizer_config.json";
  const json config = object_of(files.tokenizer_config, config_where);
  read_config(config, config_where, settings);
  if (config.contains("added_tokens_decoder")) {
    read_added_tokens(config["added_tokens_decoder"], config_where, settings);
  } else {
    const std::string map_where = where + "/special_tokens_map.json";
    read_special_tokens_map(object_of(files.special_tokens_map, map_where), map_where, settings);
    if (tokenizer_json.is_object() && tokenizer_json.contains("added_tokens")) {
      const std::string json_where = where + "/tokenizer.json";
      for (const json& token : tokenizer_json["added_tokens"]) {
        settings.added[count_member(token, "id", json_where)] = parse_added_token(token, json_where);
      }
    }
  }
  // A side that tokenizer.json says counts where the config says none.
  for (const auto& [key, target] :
       {std::pair("padding", &settings.padding_side), std::pair("truncation", &settings.truncation_side)}) {
    if (*target || !tokenizer_json.is_object() || !tokenizer_json.contains(key)) continue;
    if (tokenizer_json[key].is_object())
      *target = side(tokenizer_json[key], "direction", where + "/tokenizer.json");
  }
  return settings;
}

void add_special_tokens(const TokenizerSettings& settings, const std::vector<AddedToken>& extra,
                        AddedTokens& tokens) {
  std::set<std::string> names;
  for (const auto& [name, token] : settings.named) {
    if (token) names.insert(token->content);
  }
  std::set<std::string> known;
  std::vector<AddedToken> list;
  for (auto [id, token] : settings.added) {
    token.special = token.special || names.contains(token.content);
    known.insert(token.content);
    list.push_back(token);
  }
  const auto is_known = [&](const AddedToken& token) {
    return known.contains(token.content) || tokens.contains(token.content);
  };
  for (const std::string& name : kNamed) {
    const auto found = settings.named.find(name);
    if (found != settings.named.end() && found->second && !is_known(*found->second))
      list.push_back(*found->second);
  }
  for (const AddedToken& token : extra) {
    if (!is_known(token)) list.push_back(token);
  }
  tokens.add(list);
}

}  // namespace rushes
