#pragma once
// Reads a component's config.json field by field, and refuses what is left: a field that nobody read may
// change the result, so it is either honoured, declared harmless, or an error.

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"

namespace rushes {

/// A value in a message: its JSON, cut behind so many bytes.
std::string short_json(const nlohmann::json& value, size_t bytes = 60);

/// Is it a whole number that an int64_t holds? get() would make something of any number.
bool fits_int64(const nlohmann::json& value);

class JsonFields {
 public:
  /// `where` goes before each message ("models/x/vae/config.json").
  JsonFields(const nlohmann::json& object, std::string where);

  // Each reads one field and notes that it was read. The forms with a default take it where the field is
  // absent (and, as diffusers does, keep null apart: use optional_*); the forms without note "missing field".
  // A wrong type is noted with what was found, and the default (or a zero) is given.
  int64_t integer(const std::string& key);
  int64_t integer(const std::string& key, int64_t otherwise);
  double number(const std::string& key);
  double number(const std::string& key, double otherwise);
  bool boolean(const std::string& key, bool otherwise);
  std::string text(const std::string& key, const std::string& otherwise);
  std::vector<int64_t> integers(const std::string& key, const std::vector<int64_t>& otherwise);
  std::vector<double> numbers(const std::string& key, const std::vector<double>& otherwise);
  std::vector<bool> booleans(const std::string& key, const std::vector<bool>& otherwise);
  std::optional<int64_t> optional_integer(const std::string& key, std::optional<int64_t> otherwise = {});
  std::optional<double> optional_number(const std::string& key, std::optional<double> otherwise = {});
  std::optional<std::string> optional_text(const std::string& key, std::optional<std::string> otherwise = {});

  /// Is the field there? (Does not count as reading it.)
  bool has(const std::string& key) const;
  /// Notes a problem with a field's value.
  template <class... Values>
  void problem(const std::string& key, const Values&... values) {
    problems_.add(where_, ": ", key, ": ", values...);
  }
  /// A number must lie in [low, high].
  void range(const std::string& key, double value, double low, double high);
  /// The field must be absent or equal to `value`, the only one supported.
  void only(const std::string& key, const nlohmann::json& value);
  /// Fields that change no result (training-time switches, version stamps). Fields that start with '_' always
  /// are.
  void harmless(const std::vector<std::string>& keys);
  /// "m/config.json lacks a, b, so the default was taken: ..." of the fields that were read and are not
  /// there;
  /// "" where none is. For whom a default does not suit: a tensor may have been made with another value.
  std::string defaults_taken() const;
  /// Throws UserError with everything noted and every field nobody read.
  void finish();

 private:
  /// The field, noted as read; nullptr where it is absent.
  const nlohmann::json* get(const std::string& key);
  /// The same, and an absent one is noted.
  const nlohmann::json* required(const std::string& key);
  template <class Value>
  Value scalar(const std::string& key, const nlohmann::json* value, bool (*fits)(const nlohmann::json&),
               const char* needs, Value otherwise);
  template <class Value>
  std::vector<Value> list(const std::string& key, bool (*fits)(const nlohmann::json&), const char* needs,
                          const std::vector<Value>& otherwise);

  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> read_;
  std::set<std::string> absent_;  // of those, where a default stands in
  std::vector<std::string> missing_;
  Problems problems_;
};

}  // namespace rushes
