#include "config/value.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/file.h"

namespace rushes {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// Reads a decimal number that takes up all of `text` (no sign). Overflow gives infinity.
bool read_decimal(std::string_view text, double& number) {
  if (text.empty() || !(is_digit(text[0]) || (text[0] == '.' && text.size() > 1 && is_digit(text[1]))))
    return false;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number, std::chars_format::general);
  if (stop != end) return false;
  if (error == std::errc::result_out_of_range) {
    // Too small and too large answer alike; only a large one has a reason to be written without "e-".
    number = text.find("e-") == std::string_view::npos && text.find("E-") == std::string_view::npos
                 ? std::numeric_limits<double>::infinity()
                 : 0.0;
  }
  return true;
}

void read_number(std::string_view text, Value& value) {
  const bool negative = text[0] == '-';
  const std::string_view digits = text[0] == '-' || text[0] == '+' ? text.substr(1) : text;
  if (digits == ".inf" || digits == ".Inf" || digits == ".INF") {
    value.kind = Value::Kind::number;
    value.number = std::numeric_limits<double>::infinity() * (negative ? -1 : 1);
    return;
  }
  double number = 0;
  if (!read_decimal(digits, number)) return;
  value.kind = Value::Kind::number;
  value.number = negative ? -number : number;
  const std::string_view whole = text[0] == '+' ? digits : text;
  int64_t integer = 0;
  const auto [stop, error] = std::from_chars(whole.data(), whole.data() + whole.size(), integer);
  if (stop == whole.data() + whole.size() && error == std::errc()) {
    value.kind = Value::Kind::whole;
    value.whole = integer;
  }
}

/// May this text stand in YAML without quotes, also inside brackets?
bool is_plain_text(const std::string& text) {
  if (text.empty() || plain_scalar(text, 0).kind != Value::Kind::text) return false;
  for (const char c : text) {
    const bool safe = is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      std::string_view("_./@+- ").find(c) != std::string_view::npos;
    if (!safe) return false;
  }
  // "- x" is a list, "---" and "..." end a document, no word begins with @.
  const std::string_view edges("-.@ ");
  return edges.find(text.front()) == std::string_view::npos && text.back() != ' ';
}

}  // namespace

const Entry* Value::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

Value plain_scalar(std::string_view written, int64_t line) {
  Value value;
  value.line = line;
  value.text = std::string(written);
  const std::string_view text = trimmed(written);
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return value;
  value.kind = Value::Kind::text;
  const bool yes = text == "true" || text == "True" || text == "TRUE";
  if (yes || text == "false" || text == "False" || text == "FALSE") {
    value.kind = Value::Kind::boolean;
    value.boolean = yes;
  } else if (text == ".nan" || text == ".NaN" || text == ".NAN") {
    value.kind = Value::Kind::number;
    value.number = std::numeric_limits<double>::quiet_NaN();
  } else {
    read_number(text, value);
    if (value.kind == Value::Kind::whole) value.number = static_cast<double>(value.whole);
  }
  return value;
}

Value text_value(std::string text, int64_t line) {
  Value value;
  value.kind = Value::Kind::text;
  value.text = std::move(text);
  value.line = line;
  return value;
}

Value from_json(const nlohmann::json& json, int64_t line) {
  Value value;
  value.line = line;
  if (json.is_string()) return text_value(json.get<std::string>(), line);
  if (json.is_object()) {
    value.kind = Value::Kind::mapping;
    for (const auto& [key, element] : json.items())
      value.entries.push_back({key, line, from_json(element, line)});
  } else if (json.is_array()) {
    value.kind = Value::Kind::list;
    for (const auto& element : json)
      value.items.push_back(from_json(element, line));
  } else if (!json.is_null()) {
    value = plain_scalar(json.dump(), line);
  }
  return value;
}

nlohmann::ordered_json to_json(const Value& value) {
  switch (value.kind) {
    case Value::Kind::nothing:
      return nullptr;
    case Value::Kind::boolean:
      return value.boolean;
    case Value::Kind::whole:
      return value.whole;
    case Value::Kind::number:
      return value.number;
    case Value::Kind::text:
      return value.text;
    case Value::Kind::list: {
      auto list = nlohmann::ordered_json::array();
      for (const Value& item : value.items)
        list.push_back(to_json(item));
      return list;
    }
    case Value::Kind::mapping: {
      auto object = nlohmann::ordered_json::object();
      for (const Entry& entry : value.entries)
        object[entry.key] = to_json(entry.value);
      return object;
    }
  }
  return nullptr;
}

std::string shortened(const std::string& text, size_t bytes) {
  if (text.size() <= bytes) return text;
  size_t end = bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;
  return text.substr(0, end) + "...";
}

std::string describe(const Value& value) {
  switch (value.kind) {
    case Value::Kind::nothing:
      return "nothing";
    case Value::Kind::boolean:
      return value.boolean ? "true" : "false";
    case Value::Kind::whole:
      return str("the number ", value.whole);
    case Value::Kind::number:
      return "the number " + shortened(value.text, 40);
    case Value::Kind::text:
      return "the text '" + shortened(value.text, 60) + "'";
    case Value::Kind::list:
      return "a list";
    case Value::Kind::mapping:
      return "a mapping";
  }
  return "?";
}

std::string yaml_line(const nlohmann::ordered_json& json) {
  std::vector<std::string> parts;
  if (json.is_array()) {
    for (const auto& element : json)
      parts.push_back(yaml_line(element));
    return str("[", join(parts, ", "), "]");
  }
  if (json.is_object()) {
    for (const auto& [key, element] : json.items()) {
      // A key of over 1,024 characters must be announced (YAML 1.2, 7.4.2).
      const std::string name = yaml_line(key);
      parts.push_back(str(name.size() > 1000 ? "? " : "", name, ": ", yaml_line(element)));
    }
    return str("{", join(parts, ", "), "}");
  }
  if (json.is_string() && is_plain_text(json.get_ref<const std::string&>())) return json.get<std::string>();
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    const double number = json.get<double>();
    return std::isnan(number) ? ".nan" : number > 0 ? ".inf" : "-.inf";
  }
  return json.dump();
}

std::string json_problem(const std::exception& error) {
  const std::string text = error.what();
  const size_t end = text.starts_with("[json.exception.") ? text.find("] ") : std::string::npos;
  return end == std::string::npos ? text : text.substr(end + 2);
}

void check_utf8(std::string_view bytes, const std::string& name) {
  Problems problems;
  int64_t line = 1;
  for (size_t start = 0; start < bytes.size(); ++line) {
    const size_t end = std::min(bytes.find('\n', start), bytes.size());
    const std::string_view text = bytes.substr(start, end - start);
    if (!is_utf8(text)) {
      const bool nul = text.find('\0') != std::string_view::npos;
      problems.add(name, ":", line, nul ? ": holds a NUL byte" : ": is not UTF-8",
                   "; save the file as UTF-8 text");
      if (problems.list().size() == 20) break;
    }
    start = end + 1;
  }
  problems.throw_if_any();
}

std::string_view without_bom(std::string_view bytes) {
  return bytes.starts_with("\xEF\xBB\xBF") ? bytes.substr(3) : bytes;
}

}  // namespace rushes
