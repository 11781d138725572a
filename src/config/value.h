#pragma once
// What a file said, before anyone knows what it means: the tree that YAML, JSON and CSV are read into, with
// the line of every key.

#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace rushes {

struct Entry;

struct Value {
  enum class Kind { nothing, boolean, whole, number, text, list, mapping };

  Kind kind = Kind::nothing;
  bool boolean = false;
  int64_t whole = 0;
  double number = 0;  // of a whole number too
  std::string text;   // the text; of another scalar: as it was written
  bool quoted =
      true;  // false: from a place without quotes (CSV cell, --set), so it may serve as text as it stands
  int64_t line = 0;            // from 1; 0 where lines mean nothing (--set)
  std::vector<Value> items;    // of a list
  std::vector<Entry> entries;  // of a mapping, in the order of the file; keys differ

  const Entry* find(std::string_view key) const;
};

struct Entry {
  std::string key;
  int64_t line = 0;
  Value value;
};

/// A scalar written without quotes, by YAML 1.2's core schema: null, true, 12, 1.5e3, .nan; all else is text.
/// A whole number beyond int64 is a `number`.
Value plain_scalar(std::string_view written, int64_t line);
Value text_value(std::string text, int64_t line);

/// Every key and element gets `line`.
Value from_json(const nlohmann::json& json, int64_t line);
nlohmann::ordered_json to_json(const Value& value);

/// What was found, for messages: "the text 'abc'", "the number 2.5", "nothing", "a list".
std::string describe(const Value& value);

/// JSON as one line of YAML: texts without quotes where that is safe, lists and mappings in brackets.
std::string yaml_line(const nlohmann::ordered_json& json);

/// At most `bytes` of a text for a message, cut between characters and ended by "...".
std::string shortened(const std::string& text, size_t bytes);

/// What nlohmann's parser says, without its own "[json.exception.type_error.302] ".
std::string json_problem(const std::exception& error);

/// Throws UserError naming each line (at most 20) of `bytes` that is not UTF-8 or holds a NUL.
void check_utf8(std::string_view bytes, const std::string& name);

/// `bytes` without a UTF-8 byte order mark.
std::string_view without_bom(std::string_view bytes);

}  // namespace rushes
