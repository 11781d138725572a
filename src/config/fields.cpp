#include "config/fields.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"

namespace rushes {

void unknown_key(const Entry& entry, const std::string& path, const std::vector<std::string>& known,
                 Reading& reading) {
  const std::string hint = reading.full() ? std::string() : did_you_mean(entry.key, known);
  std::string shown = shortened(path, 100);  // on one line: a key may hold anything
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  reading.problem(entry.line, shown, "unknown key",
                  hint.empty() ? "; the keys here are " + join(known, ", ") : hint);
}

std::string allowed_text(WholeRange range) {
  return str("a whole number from ", range.low, " to ", range.high);
}

std::string allowed_text(NumberRange range) {
  return str("a number from ", range.low, " to ", range.high);
}

std::string allowed_text(const std::vector<std::string>& words) {
  return words.size() == 1 ? words[0] : "one of " + join(words, ", ");
}

std::optional<int64_t> read_whole(const Value& value, WholeRange range, const std::string& allowed,
                                  const std::string& path, Reading& reading) {
  if (value.kind == Value::Kind::whole && value.whole >= range.low && value.whole <= range.high)
    return value.whole;
  reading.wrong(value, path, allowed);
  return std::nullopt;
}

std::optional<double> read_number(const Value& value, NumberRange range, const std::string& allowed,
                                  const std::string& path, Reading& reading) {
  const bool is_number = value.kind == Value::Kind::whole || value.kind == Value::Kind::number;
  // A NaN fails both comparisons.
  if (is_number && value.number >= range.low && value.number <= range.high) return value.number;
  reading.wrong(value, path, allowed);
  return std::nullopt;
}

std::optional<std::string> read_text(const Value& value, const std::string& path, Reading& reading) {
  const bool scalar = value.kind != Value::Kind::list && value.kind != Value::Kind::mapping;
  if (value.kind == Value::Kind::text || (scalar && !value.quoted)) {
    // Escapes ("\0", "\ud800") can still bring in what the file's bytes did not hold.
    if (is_utf8(value.text)) return value.text;
    reading.problem(value.line, path, "holds a NUL or a broken character");
  } else if (value.kind == Value::Kind::nothing) {
    reading.wrong(value, path, "a text (\"\" is the empty one)");
  } else {
    reading.wrong(value, path, scalar ? "a text (put it in quotes)" : "a text");
  }
  return std::nullopt;
}

std::optional<std::string> read_word(const Value& value, const std::vector<std::string>& words,
                                     const std::string& path, Reading& reading) {
  for (const std::string& word : words) {
    if (is_word(value, word)) return word;
  }
  const std::string hint = value.kind == Value::Kind::text ? did_you_mean(value.text, words) : std::string();
  reading.problem(value.line, path, "must be ", allowed_text(words), "; found ", describe(value), hint);
  return std::nullopt;
}

bool is_word(const Value& value, const std::string& word) {
  return value.kind == Value::Kind::text && value.text == word;
}

}  // namespace rushes
