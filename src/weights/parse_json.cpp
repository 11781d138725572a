#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/value.h"
#include "weights/model_dir.h"
#include "weights/words.h"

namespace rushes {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxValues =
    5'000'000;  // a tokenizer of 256,000 words has 800,000; an empty list takes 80 bytes

/// Walks over the text and tells how far the parser has come, which its events do not say.
struct CountingIterator {
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  const char** reached = nullptr;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    *reached = ++at;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
  bool operator!=(const CountingIterator& other) const { return at != other.at; }
};

/// Builds the value, and stops at a key that an object already has or at too many levels.
class TreeBuilder : public nlohmann::json_sax<json> {
 public:
  json root;
  std::string error;
  size_t error_position = 0;  // 1-based, where `error` came from the parser itself

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(json::binary_t&) override { return wrong("binary data"); }
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& value) override {
    json& object = *open_.back();
    if (object.contains(value)) return wrong("the key " + quote_name(value) + " is there twice");
    slot_ = &object[value];
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& exception) override {
    const std::string text = json_problem(exception);
    const size_t start = text.find("syntax error");
    error_position = std::max<size_t>(position, 1);
    return wrong(start == std::string::npos ? text : text.substr(start, 300));
  }

 private:
  bool wrong(std::string what) {
    error = std::move(what);
    return false;
  }

  json* place(json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *slot_ = std::move(value);
    return slot_;
  }

  bool put(json value) {
    if (++values_ > kMaxValues) return wrong(str("more than ", kMaxValues, " values"));
    place(std::move(value));
    return true;
  }

  bool open(json value) {
    if (++values_ > kMaxValues) return wrong(str("more than ", kMaxValues, " values"));
    if (open_.size() >= kMaxDepth) return wrong(str("more than ", kMaxDepth, " levels of brackets"));
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<json*> open_;  // the objects and arrays that are not closed yet
  json* slot_ = nullptr;     // the value of the last key
  size_t values_ = 0;
};

}  // namespace

json parse_json(const std::string& text, const std::string& where) {
  const char* reached = text.data();
  TreeBuilder builder;
  const bool parsed = json::sax_parse(CountingIterator{text.data(), &reached},
                                      CountingIterator{text.data() + text.size(), &reached}, &builder);
  if (parsed) return std::move(builder.root);
  const size_t read = static_cast<size_t>(reached - text.data());
  const size_t position = std::min(builder.error_position > 0 ? builder.error_position : read, text.size());
  const size_t before = position == 0 ? 0 : position - 1;  // the offending byte itself is not counted
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(before);
  const auto line = 1 + std::count(text.begin(), end, '\n');
  const size_t line_start = before == 0 ? std::string::npos : text.rfind('\n', before - 1);
  const size_t column = before - (line_start == std::string::npos ? 0 : line_start + 1) + 1;
  fail(where, ":", line, ":", column, ": not valid JSON: ", builder.error);
}

}  // namespace rushes
