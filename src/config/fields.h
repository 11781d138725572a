#pragma once
// Typed field tables: one row a key says its type, allowed values, meaning and the member it fills. The same
// row parses, checks, prints, and lends its key to "did you mean".

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"
#include "config/settings.h"
#include "config/value.h"

namespace rushes {

/// One document being read: notes what is wrong in it and which keys it set.
class Reading {
 public:
  /// `document` is a file or "--set"; `sources` gets full key -> place of every key taken over.
  Reading(std::string document, Problems& problems, std::map<std::string, std::string>& sources)
      : document_(std::move(document)), problems_(problems), sources_(sources) {}

  /// "jobs/demo.yaml:12", or the document alone where lines mean nothing.
  std::string place(int64_t line) const { return line > 0 ? str(document_, ":", line) : document_; }

  template <class... Values>
  void problem(int64_t line, const std::string& path, const Values&... values) {
    problems_.add(place(line), ": ", path, path.empty() ? "" : ": ", values...);
  }
  /// "<place>: <path>: must be <allowed>; found <value>".
  void wrong(const Value& value, const std::string& path, const std::string& allowed) {
    problem(value.line, path, "must be ", allowed, "; found ", describe(value));
  }
  /// So many problems that more are only counted?
  bool full() const { return problems_.full(); }
  void took(const std::string& path, int64_t line) { sources_[path] = place(line); }

 private:
  std::string document_;
  Problems& problems_;
  std::map<std::string, std::string>& sources_;
};

template <class T>
struct Field {
  std::string key;
  std::string allowed;  // "a whole number from 1 to 16384"
  std::string meaning;
  /// Checks the value and takes it over; a wrong one is noted and leaves the member as it was. `path` is the
  /// full key ("sampling.height").
  std::function<void(T&, const Value&, const std::string& path, Reading&)> read;
  /// The member as JSON; empty for a key that fills none.
  std::function<nlohmann::ordered_json(const T&)> get;
};

template <class T>
using Fields = std::vector<Field<T>>;

template <class T>
const Field<T>* find_field(const Fields<T>& fields, const std::string& key) {
  for (const Field<T>& field : fields) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

template <class T>
std::vector<std::string> field_keys(const Fields<T>& fields) {
  std::vector<std::string> keys;
  for (const Field<T>& field : fields)
    keys.push_back(field.key);
  return keys;
}

/// Notes an unknown key with the nearest of `known`, or all of them where none is near.
void unknown_key(const Entry& entry, const std::string& path, const std::vector<std::string>& known,
                 Reading& reading);

/// Reads a mapping (or nothing, as an empty one) key by key. `prefix`: "" or "sampling.".
template <class T>
void read_fields(const Fields<T>& fields, T& into, const Value& value, const std::string& prefix,
                 Reading& reading) {
  if (value.kind == Value::Kind::nothing) return;
  if (value.kind != Value::Kind::mapping) {
    reading.wrong(value, prefix.empty() ? "" : prefix.substr(0, prefix.size() - 1), "a mapping (key: value)");
    return;
  }
  for (const Entry& entry : value.entries) {
    const std::string path = prefix + entry.key;
    if (const Field<T>* field = find_field(fields, entry.key)) {
      field->read(into, entry.value, path, reading);
    } else {
      unknown_key(entry, path, field_keys(fields), reading);
    }
  }
}

template <class T>
nlohmann::ordered_json get_fields(const Fields<T>& fields, const T& from) {
  auto object = nlohmann::ordered_json::object();
  for (const Field<T>& field : fields) {
    if (field.get) object[field.key] = field.get(from);
  }
  return object;
}

// ---- what each kind of row accepts
// --------------------------------------------------------------------------------

struct WholeRange {
  int64_t low;
  int64_t high;
};
struct NumberRange {
  double low;
  double high;
};
std::string allowed_text(WholeRange range);
std::string allowed_text(NumberRange range);
std::string allowed_text(const std::vector<std::string>& words);

// Each gives the value, or notes what is wrong with it and gives nothing.
std::optional<int64_t> read_whole(const Value& value, WholeRange range, const std::string& allowed,
                                  const std::string& path, Reading& reading);
std::optional<double> read_number(const Value& value, NumberRange range, const std::string& allowed,
                                  const std::string& path, Reading& reading);
std::optional<std::string> read_text(const Value& value, const std::string& path, Reading& reading);
std::optional<std::string> read_word(const Value& value, const std::vector<std::string>& words,
                                     const std::string& path, Reading& reading);
/// Is this the word (or, for "null", nothing)?
bool is_word(const Value& value, const std::string& word);

// ---- the kinds of rows
// --------------------------------------------------------------------------------------------

template <class T>
Field<T> whole_field(std::string key, int64_t T::*member, WholeRange range, std::string meaning) {
  const std::string allowed = allowed_text(range);
  return {key, allowed, std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            const auto read = read_whole(value, range, allowed, path, reading);
            if (!read) return;
            into.*member = *read;
            reading.took(path, value.line);
          },
          [=](const T& from) { return nlohmann::ordered_json(from.*member); }};
}

/// A whole number or the word `auto`.
template <class T>
Field<T> whole_or_auto_field(std::string key, std::optional<int64_t> T::*member, WholeRange range,
                             std::string meaning) {
  const std::string allowed = allowed_text(range) + ", or auto";
  return {key, allowed, std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            if (is_word(value, "auto")) {
              into.*member = std::nullopt;
            } else if (const auto read = read_whole(value, range, allowed, path, reading)) {
              into.*member = *read;
            } else {
              return;
            }
            reading.took(path, value.line);
          },
          [=](const T& from) -> nlohmann::ordered_json {
            if (from.*member) return *(from.*member);
            return "auto";
          }};
}

template <class T>
Field<T> number_field(std::string key, double T::*member, NumberRange range, std::string meaning) {
  const std::string allowed = allowed_text(range);
  return {key, allowed, std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            const auto read = read_number(value, range, allowed, path, reading);
            if (!read) return;
            into.*member = *read;
            reading.took(path, value.line);
          },
          [=](const T& from) { return nlohmann::ordered_json(from.*member); }};
}

/// A number or `null`: leave it to the model.
template <class T>
Field<T> number_or_null_field(std::string key, std::optional<double> T::*member, NumberRange range,
                              std::string meaning) {
  const std::string allowed = allowed_text(range) + ", or null";
  return {key, allowed, std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            if (value.kind == Value::Kind::nothing) {
              into.*member = std::nullopt;
            } else if (const auto read = read_number(value, range, allowed, path, reading)) {
              into.*member = *read;
            } else {
              return;
            }
            reading.took(path, value.line);
          },
          [=](const T& from) -> nlohmann::ordered_json {
            if (from.*member) return *(from.*member);
            return nullptr;
          }};
}

template <class T>
Field<T> text_field(std::string key, std::string T::*member, std::string meaning) {
  return {key, "a text", std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            const auto read = read_text(value, path, reading);
            if (!read) return;
            into.*member = *read;
            reading.took(path, value.line);
          },
          [=](const T& from) { return nlohmann::ordered_json(from.*member); }};
}

/// One of the words, each with the value it stands for.
template <class T, class Choice>
Field<T> choice_field(std::string key, Choice T::*member, std::vector<std::pair<std::string, Choice>> choices,
                      std::string meaning) {
  std::vector<std::string> words;
  for (const auto& choice : choices)
    words.push_back(choice.first);
  return {key, allowed_text(words), std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            const auto read = read_word(value, words, path, reading);
            if (!read) return;
            for (const auto& [word, choice] : choices) {
              if (word == *read) into.*member = choice;
            }
            reading.took(path, value.line);
          },
          [=](const T& from) -> nlohmann::ordered_json {
            for (const auto& [word, choice] : choices) {
              if (choice == from.*member) return word;
            }
            throw InternalError("a value of '" + key + "' without a word");
          }};
}

/// A list of different words, at least one unless it may be empty; a single word may stand without brackets.
template <class T>
Field<T> words_field(std::string key, std::vector<std::string> T::*member, std::vector<std::string> words,
                     std::string meaning, bool may_be_empty = false) {
  const std::string allowed = "a list out of " + join(words, ", ");
  return {key, allowed, std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            if (value.kind == Value::Kind::list && value.items.empty() && !may_be_empty)
              return reading.problem(value.line, path, "the list is empty; name one at least of ",
                                     join(words, ", "));
            const bool single = value.kind == Value::Kind::text;
            if (!single && value.kind != Value::Kind::list) return reading.wrong(value, path, allowed);
            std::vector<std::string> chosen;
            for (const Value& item : single ? std::vector<Value>{value} : value.items) {
              const auto word = read_word(item, words, path, reading);
              if (!word) return;
              for (const std::string& other : chosen) {
                if (other == *word)
                  return reading.problem(item.line, path, "'", *word, "' stands there twice");
              }
              chosen.push_back(*word);
            }
            into.*member = std::move(chosen);
            reading.took(path, value.line);
          },
          [=](const T& from) { return nlohmann::ordered_json(from.*member); }};
}

/// A mapping with a table of its own.
template <class T, class Section>
Field<T> section_field(std::string key, Section T::*member, const Fields<Section>& (*table)(),
                       std::string meaning) {
  return {key, "a mapping", std::move(meaning),
          [=](T& into, const Value& value, const std::string& path, Reading& reading) {
            read_fields(table(), into.*member, value, path + ".", reading);
          },
          [=](const T& from) { return get_fields(table(), from.*member); }};
}

}  // namespace rushes
