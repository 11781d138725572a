#include "config/yaml/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace rushes {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxNodes = 1000000;

/// Thrown to leave yaml-cpp's parser; the problem itself is already noted.
struct Abandon {};

/// yaml-cpp makes a lone byte of the escapes "\N" (U+0085) and "\_" (U+00A0).
std::string whole_characters(const std::string& text) {
  if (is_utf8(text)) return text;
  std::string whole;
  for (size_t i = 0; i < text.size();) {
    size_t length = 1;
    while (length < 4 && i + length < text.size() && !is_utf8(text.substr(i, length)))
      ++length;
    if (!is_utf8(text.substr(i, length))) length = 1;
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 1 && (byte == 0x85 || byte == 0xa0)) whole += '\xc2';
    whole += text.substr(i, length);
    i += length;
  }
  return whole;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

/// A line that ends with the dash of an item with nothing behind it.
bool ends_with_dash(std::string_view line) {
  line = line.substr(0, line.find('#'));
  line = line.substr(0, line.find_last_not_of(" \t\r") + 1);
  return line.find_first_not_of(" -") == std::string_view::npos && (line == "-" || line.ends_with(" -"));
}

bool is_blank(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r");
  return first == std::string_view::npos || line[first] == '#';
}

/// Builds the tree while yaml-cpp reads.
class TreeBuilder : public YAML::EventHandler {
 public:
  /// `text` is what is read, and outlives this.
  TreeBuilder(std::string name, std::string_view text, Problems& problems)
      : name_(std::move(name)), text_(text), problems_(problems) {}

  Value take_root() { return std::move(root_); }
  /// Was the last scalar one in quotes?
  bool ended_quoted() const { return ended_quoted_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) stop(mark, "a second document begins here; one is read (remove the '---')");
  }
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string& anchor) override {
    note(mark, "anchors and aliases are not read; write the value of '&", shortened(anchor, 60), "' out");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    note(mark, "anchors and aliases are not read; write the value out");
    add(Value{}, mark);
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    YAML::Mark own = mark;
    if (!stack_.empty() && stack_.back().value.kind == Value::Kind::list) own.line = line_of_empty(mark);
    add(Value{}, own);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    ended_quoted_ = tag != "?";
    if (tag == "?") {
      add(plain_scalar(text, 0), mark);
    } else {
      if (tag != "!" && tag != "tag:yaml.org,2002:str") note_tag(mark, tag);
      add(text_value(whole_characters(text), 0), mark);
    }
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(Value::Kind::list, mark, tag);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(Value::Kind::mapping, mark, tag);
  }
  void OnMapEnd() override { close(); }

 private:
  /// A list or mapping that is not yet closed.
  struct Open {
    Value value;
    bool has_key = false;  // of a mapping: the next value belongs to `key`
    std::string key;
    int64_t key_line = 0;
    std::unordered_map<std::string, int64_t> lines;  // of the keys so far
  };

  template <class... Values>
  void note(const YAML::Mark& mark, const Values&... values) {
    problems_.add(name_, ":", mark.line + 1, ": ", values...);
    if (problems_.list().size() >= 100) throw Abandon();
  }
  template <class... Values>
  [[noreturn]] void stop(const YAML::Mark& mark, const Values&... values) {
    problems_.add(name_, ":", mark.line + 1, ": ", values...);
    throw Abandon();
  }
  void note_tag(const YAML::Mark& mark, const std::string& tag) {
    note(mark, "the tag '", shortened(tag, 60), "' is not read; remove it");
  }

  void open(Value::Kind kind, const YAML::Mark& mark, const std::string& tag) {
    if (tag != "?" && tag != "!" && !tag.empty()) note_tag(mark, tag);
    expect_value(mark, "a list or mapping");
    count(mark);
    if (stack_.size() == kMaxDepth) stop(mark, "nested deeper than ", kMaxDepth, " levels");
    stack_.emplace_back();
    stack_.back().value.kind = kind;
    stack_.back().value.line = mark.line + 1;
  }
  void count(const YAML::Mark& mark) {
    if (++nodes_ > kMaxNodes)
      stop(mark, "more than ", kMaxNodes, " keys and values; prompts in a .jsonl file may be many");
  }
  void close() {
    Value value = std::move(stack_.back().value);
    stack_.pop_back();
    place(std::move(value));
  }
  /// Only scalars can be keys.
  void expect_value(const YAML::Mark& mark, const char* what) {
    if (stack_.empty() || stack_.back().value.kind != Value::Kind::mapping || stack_.back().has_key) return;
    stop(mark, what, " cannot be a key");
  }
  void add(Value value, const YAML::Mark& mark) {
    count(mark);
    value.line = mark.line + 1;
    if (!stack_.empty() && stack_.back().value.kind == Value::Kind::mapping && !stack_.back().has_key) {
      add_key(value, mark);
    } else {
      place(std::move(value));
    }
  }
  void add_key(const Value& value, const YAML::Mark& mark) {
    if (value.kind == Value::Kind::nothing) stop(mark, "a key is missing before ':'");
    Open& open = stack_.back();
    open.has_key = true;
    open.key = value.text;
    open.key_line = value.line;
    const auto [found, is_new] = open.lines.emplace(open.key, open.key_line);
    if (!is_new) note(mark, shortened(open.key, 60), ": this key stands already in line ", found->second);
  }
  void place(Value value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& open = stack_.back();
    if (open.value.kind == Value::Kind::list) {
      open.value.items.push_back(std::move(value));
      return;
    }
    // yaml-cpp marks an absent value at the next token; its key tells the line better.
    if (value.kind == Value::Kind::nothing) value.line = open.key_line;
    open.value.entries.push_back({std::move(open.key), open.key_line, std::move(value)});
    open.has_key = false;
  }

  /// yaml-cpp marks an item that is absent at the next token: its own line is the one before that ends with
  /// its dash. One that is written out ("~", "null") is marked where it stands. From 0.
  int line_of_empty(const YAML::Mark& mark) {
    if (lines_.empty()) lines_ = lines_of(text_);
    auto line = std::min(static_cast<size_t>(mark.line), lines_.size() - 1);
    const std::string_view there =
        lines_[line].substr(std::min(static_cast<size_t>(mark.column), lines_[line].size()));
    for (const char* word : {"~", "null", "Null", "NULL"}) {
      if (there.starts_with(word)) return mark.line;
    }
    if (mark.line == walked_from_) return walked_to_;  // many on a line, behind many blank ones
    walked_from_ = walked_to_ = mark.line;
    while (line-- > 0) {
      if (ends_with_dash(lines_[line])) walked_to_ = static_cast<int>(line);
      if (!is_blank(lines_[line])) break;
    }
    return walked_to_;
  }

  std::string name_;
  std::string_view text_;
  std::vector<std::string_view> lines_;    // of the text, once they are asked for
  int walked_from_ = -1, walked_to_ = -1;  // the last way back
  Problems& problems_;
  Value root_;
  std::vector<Open> stack_;
  int documents_ = 0;
  size_t nodes_ = 0;
  bool ended_quoted_ = false;
};

void run_parser(std::string_view text, TreeBuilder& builder, const std::string& name, Problems& problems) {
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Abandon&) {
  } catch (const YAML::ParserException& error) {
    problems.add(name, ":", error.mark.line + 1, ":", error.mark.column + 1, ": not YAML: ", error.msg);
  } catch (const std::exception& error) {
    problems.add(name, ": not YAML: ", error.what());
  }
}

}  // namespace

Value parse_yaml(const std::string& text, const std::string& name) {
  check_utf8(text, name);
  const std::string_view bytes = without_bom(text);
  Problems problems;
  TreeBuilder builder(name, bytes, problems);
  run_parser(bytes, builder, name, problems);
  if (problems.empty() && builder.ended_quoted()) {
    // yaml-cpp takes a quote that is never closed for closed where the file ends with a line break.
    const std::string_view whole = bytes.substr(0, bytes.find_last_not_of(" \t\r\n") + 1);
    TreeBuilder again(name, whole, problems);
    run_parser(whole, again, name, problems);
  }
  problems.throw_if_any();
  return builder.take_root();
}

Value read_yaml(const std::filesystem::path& path) {
  return parse_yaml(read_file(path, kMaxYamlBytes), path.string());
}

}  // namespace rushes
