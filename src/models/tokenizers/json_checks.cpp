#include "models/tokenizers/json_checks.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/quote.h"

namespace rushes {

using nlohmann::json;

std::string brief(const json& value) {
  if (value.is_structured()) return str("{", value.size(), value.is_array() ? " items}" : " members}");
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

const json& member(const json& object, const std::string& key, const std::string& where) {
  if (!object.is_object())
    fail(where, ": there is ", brief(object), " where an object with '", key, "' belongs");
  const auto found = object.find(key);
  if (found == object.end()) fail(where, ": ", quote_name(key), " is missing");
  return *found;
}

std::string text_member(const json& object, const std::string& key, const std::string& where) {
  const json& value = member(object, key, where);
  if (!value.is_string()) fail(where, ": ", key, " must be text, not ", brief(value));
  return value.get<std::string>();
}

bool flag_member(const json& object, const std::string& key, std::optional<bool> otherwise,
                 const std::string& where) {
  if (otherwise && object.is_object() && (!object.contains(key) || object[key].is_null())) return *otherwise;
  const json& value = member(object, key, where);
  if (!value.is_boolean()) fail(where, ": ", key, " must be true or false, not ", brief(value));
  return value.get<bool>();
}

int32_t count_member(const json& object, const std::string& key, const std::string& where) {
  const json& value = member(object, key, where);
  if (!value.is_number_integer() || value < 0 || value > std::numeric_limits<int32_t>::max()) {
    fail(where, ": ", key, " must be a whole number from 0 on, not ", brief(value));
  }
  return value.get<int32_t>();
}

void only_keys(const json& object, std::initializer_list<const char*> keys, const std::string& where) {
  if (!object.is_object())
    fail(where, ": there is ", brief(object), " where an object with ", join(keys, ", "), " belongs");
  for (const auto& [key, value] : object.items()) {
    const auto same = [&](const char* known) { return key == known; };
    if (std::none_of(keys.begin(), keys.end(), same)) {
      fail(where, ": ", quote_name(key), " (", brief(value), ") is not supported here; known are ",
           join(keys, ", "));
    }
  }
}

}  // namespace rushes
