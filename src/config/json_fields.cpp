#include "config/json_fields.h"

#include <cmath>
#include <limits>

#include "base/nearest.h"
#include "base/quote.h"
#include "config/value.h"

namespace rushes {
namespace {

using nlohmann::json;

/// "found the text "abc"", short.
std::string found(const json& value) {
  return str("found ", value.is_null() ? "" : value.type_name(), value.is_null() ? "" : " ",
             short_json(value));
}

bool is_number(const json& value) {
  return value.is_number();
}
bool is_boolean(const json& value) {
  return value.is_boolean();
}

}  // namespace

bool fits_int64(const json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  return value.is_number_integer();
}

std::string short_json(const json& value, size_t bytes) {
  return shortened(value.dump(-1, ' ', false, json::error_handler_t::replace), bytes);
}

JsonFields::JsonFields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object_.is_object()) problems_.add(where_, ": must be a JSON object, ", found(object_));
}

bool JsonFields::has(const std::string& key) const {
  return object_.is_object() && object_.contains(key);
}

const json* JsonFields::get(const std::string& key) {
  read_.insert(key);
  if (!object_.is_object()) return nullptr;
  const auto at = object_.find(key);
  if (at != object_.end()) return &*at;
  absent_.insert(key);
  return nullptr;
}

const json* JsonFields::required(const std::string& key) {
  const json* value = get(key);
  if (value == nullptr && object_.is_object()) missing_.push_back(key);
  return value;
}

template <class Value>
Value JsonFields::scalar(const std::string& key, const json* value, bool (*fits)(const json&),
                         const char* needs, Value otherwise) {
  if (value == nullptr) return otherwise;
  if (fits(*value)) return value->get<Value>();
  problem(key, "needs ", needs, ", ", found(*value));
  return otherwise;
}

template <class Value>
std::vector<Value> JsonFields::list(const std::string& key, bool (*fits)(const json&), const char* needs,
                                    const std::vector<Value>& otherwise) {
  const json* value = get(key);
  if (value == nullptr) return otherwise;
  if (!value->is_array()) {
    problem(key, "needs a list of ", needs, ", ", found(*value));
    return otherwise;
  }
  std::vector<Value> values;
  for (const auto& element : *value) {
    if (!fits(element)) {
      problem(key, "needs a list of ", needs, ", ", found(element), " at position ", values.size());
      return otherwise;
    }
    values.push_back(element.get<Value>());
  }
  return values;
}

int64_t JsonFields::integer(const std::string& key) {
  return scalar<int64_t>(key, required(key), fits_int64, "a whole number", 0);
}
int64_t JsonFields::integer(const std::string& key, int64_t otherwise) {
  return scalar(key, get(key), fits_int64, "a whole number", otherwise);
}
double JsonFields::number(const std::string& key) {
  return scalar<double>(key, required(key), is_number, "a number", 0);
}
double JsonFields::number(const std::string& key, double otherwise) {
  return scalar(key, get(key), is_number, "a number", otherwise);
}
bool JsonFields::boolean(const std::string& key, bool otherwise) {
  return scalar(key, get(key), is_boolean, "true or false", otherwise);
}
std::string JsonFields::text(const std::string& key, const std::string& otherwise) {
  const json* value = get(key);
  if (value == nullptr) return otherwise;
  if (value->is_string()) return value->get<std::string>();
  problem(key, "needs a text, ", found(*value));
  return otherwise;
}

std::vector<int64_t> JsonFields::integers(const std::string& key, const std::vector<int64_t>& otherwise) {
  return list(key, fits_int64, "whole numbers", otherwise);
}
std::vector<double> JsonFields::numbers(const std::string& key, const std::vector<double>& otherwise) {
  return list(key, is_number, "numbers", otherwise);
}
std::vector<bool> JsonFields::booleans(const std::string& key, const std::vector<bool>& otherwise) {
  return list(key, is_boolean, "true or false", otherwise);
}

std::optional<int64_t> JsonFields::optional_integer(const std::string& key,
                                                    std::optional<int64_t> otherwise) {
  const json* value = get(key);
  if (value == nullptr) return otherwise;
  if (value->is_null()) return {};
  return scalar<int64_t>(key, value, fits_int64, "a whole number or null", 0);
}
std::optional<double> JsonFields::optional_number(const std::string& key, std::optional<double> otherwise) {
  const json* value = get(key);
  if (value == nullptr) return otherwise;
  if (value->is_null()) return {};
  return scalar<double>(key, value, is_number, "a number or null", 0);
}
std::optional<std::string> JsonFields::optional_text(const std::string& key,
                                                     std::optional<std::string> otherwise) {
  const json* value = get(key);
  if (value == nullptr) return otherwise;
  if (value->is_null()) return {};
  if (value->is_string()) return value->get<std::string>();
  problem(key, "needs a text or null, ", found(*value));
  return otherwise;
}

void JsonFields::range(const std::string& key, double value, double low, double high) {
  if (value >= low && value <= high) return;
  const auto text = [](double number) { return json(number).dump(); };  // every digit, unlike a stream
  const auto plain = [&](double number) {
    const bool whole = std::abs(number) < 1e15 && number == std::floor(number);
    return whole ? str(static_cast<int64_t>(number)) : text(number);
  };
  problem(key, "must lie between ", plain(low), " and ", plain(high), ", is ", plain(value));
}

void JsonFields::only(const std::string& key, const json& value) {
  read_.insert(key);
  if (has(key) && object_[key] != value) {
    problem(key, "only ", value.dump(), " is supported, ", found(object_[key]));
  }
}

void JsonFields::harmless(const std::vector<std::string>& keys) {
  read_.insert(keys.begin(), keys.end());
}

std::string JsonFields::defaults_taken() const {
  if (absent_.empty()) return {};
  return str(where_, " lacks ", join(absent_, ", "),
             ", so the default was taken: where a tensor does not fit, write there what it was made with");
}

void JsonFields::finish() {
  std::vector<std::string> unread;
  if (object_.is_object()) {
    for (const auto& [key, value] : object_.items()) {
      if (!key.starts_with("_") && read_.count(key) == 0) unread.push_back(key);
    }
  }
  for (const auto& key : missing_)
    problems_.add(where_, ": missing field ", quote_name(key), did_you_mean(key, unread));
  std::vector<std::string> absent;  // what a misspelt field can have meant
  for (const auto& key : read_) {
    if (!has(key)) absent.push_back(key);
  }
  for (const auto& key : unread) {
    problems_.add(where_, ": unknown field ", quote_name(key), " (", short_json(object_[key]),
                  "): it may change the result and is not supported", did_you_mean(key, absent));
  }
  problems_.throw_if_any();
}

}  // namespace rushes
