#include "config/yaml/yaml.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/timer.h"
#include "support/folder.h"

using namespace rushes;

namespace {

std::vector<std::string> problems_of(const std::string& text) {
  try {
    parse_yaml(text, "f.yaml");
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

}  // namespace

TEST_CASE("yaml: the tree with its lines") {
  const Value root = parse_yaml(
      "# a comment\n"
      "a: 1\n"
      "b:\n"
      "  c: [x, 2.5, \"3\", null]\n"
      "  d: {e: true}\n"
      "f:\n"
      "g: |\n"
      "  two\n"
      "  lines\n",
      "f.yaml");
  CHECK(to_json(root).dump() ==
        R"({"a":1,"b":{"c":["x",2.5,"3",null],"d":{"e":true}},"f":null,"g":"two\nlines\n"})");
  CHECK(root.find("a")->line == 2);
  CHECK(root.find("b")->value.find("c")->line == 4);
  CHECK(root.find("b")->value.find("c")->value.items[1].line == 4);
  CHECK(root.find("f")->value.line == 6);
  CHECK(root.find("g")->line == 7);
}

TEST_CASE("yaml: an empty item of a list has its own line") {
  const Value root =
      parse_yaml("- a\n-\n- b\n-\n\n# words\n-\n- ~\n- x: [c, null]\n  y:\n  -\n  - d\n-\n", "f.yaml");
  std::vector<int64_t> lines;
  for (const Value& item : root.items)
    lines.push_back(item.line);
  CHECK(lines == std::vector<int64_t>{1, 2, 3, 4, 7, 8, 9, 13});
  const Value& inner = root.items[6];
  CHECK(inner.find("x")->value.items[1].line == 9);
  CHECK(inner.find("y")->value.items[0].line == 11);
  CHECK(inner.find("y")->value.items[1].line == 12);
}

TEST_CASE("yaml: reads what yaml_line writes") {
  const std::string bells(300, '\a');  // six characters each, once written
  for (const auto& json : {nlohmann::ordered_json{{bells, 1}, {"b", {"@x", bells}}},
                           {{"a", {{bells, {{bells, "-"}}}}}},
                           nlohmann::ordered_json{{std::string(2000, 'x'), {1, nullptr, "null", ""}}}}) {
    CHECK(to_json(parse_yaml(yaml_line(json), "f")) == json);
  }
}

TEST_CASE("yaml: empty files, BOM, CRLF") {
  CHECK(parse_yaml("", "f").kind == Value::Kind::nothing);
  CHECK(parse_yaml("# only words\n", "f").kind == Value::Kind::nothing);
  CHECK(to_json(parse_yaml("\xEF\xBB\xBF"
                           "a: x\r\nb: y\r\n",
                           "f"))
            .dump() == R"({"a":"x","b":"y"})");
  CHECK(to_json(parse_yaml("---\na: 1\n", "f")).dump() == R"({"a":1})");
}

TEST_CASE("yaml: everything wrong that can be told apart") {
  const auto list = problems_of("a: 1\nb: &x [1]\nc: *x\na: 2\nd: !!python/object 3\ne: {f: 1, f: 2}\n");
  REQUIRE(list.size() == 5);
  CHECK(list[0] == "f.yaml:2: anchors and aliases are not read; write the value of '&x' out");
  CHECK(list[1] == "f.yaml:3: anchors and aliases are not read; write the value out");
  CHECK(list[2] == "f.yaml:4: a: this key stands already in line 1");
  CHECK(list[3].find("f.yaml:5: the tag 'tag:yaml.org,2002:python/object' is not read") == 0);
  CHECK(list[4] == "f.yaml:6: f: this key stands already in line 6");
}

TEST_CASE("yaml: escapes that yaml-cpp leaves half done become whole characters") {
  const Value value = parse_yaml("a: \"x\\Ny\\_z \xc3\xbc\"\n", "f");
  CHECK(value.find("a")->value.text == "x\xc2\x85y\xc2\xa0z \xc3\xbc");
}

TEST_CASE("yaml: broken text tells line and column") {
  CHECK(problems_of("a: [1, 2\nb: 3\n")[0].find("f.yaml:2:") == 0);
  CHECK(problems_of("a: b: c\n")[0].find("f.yaml:1:") == 0);
  CHECK(problems_of("a: \"open").size() == 1);
  CHECK(problems_of("a: \"open\n").size() == 1);
  CHECK(problems_of("a: 'open\nb: 2\n \n\n").size() == 1);
  CHECK(problems_of("- a: \"closed\"  # words \n\n").empty());
  CHECK(problems_of("\ta: 1\n").size() == 1);
  CHECK(problems_of("a: 1\n---\nb: 2\n")[0].find("second document") != std::string::npos);
  CHECK(problems_of("? [a, b]\n: 1\n")[0].find("cannot be a key") != std::string::npos);
  CHECK(problems_of("? {a: b}\n: 1\n")[0].find("cannot be a key") != std::string::npos);
  CHECK(problems_of(": 1\n")[0].find("key is missing") != std::string::npos);
  CHECK(problems_of("a: gr\xFC\xDF\n")[0] == "f.yaml:1: is not UTF-8; save the file as UTF-8 text");
  CHECK(problems_of(std::string("a: 1\nb: \0\n", 10))[0].find("f.yaml:2: holds a NUL byte") == 0);
}

TEST_CASE("yaml: bombs stay small") {
  const Timer timer;
  CHECK(problems_of(std::string(1000000, '[')).size() == 1);
  CHECK(problems_of(std::string(1000000, '{')).size() == 1);
  std::string deep;
  for (int i = 0; i < 100; ++i)
    deep += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  CHECK(problems_of(deep)[0].find("nested deeper than 64") != std::string::npos);
  std::string laughs = "a: &a [x, x]\n";
  for (char c = 'b'; c < 'z'; ++c)
    laughs += std::string(1, c) + ": &" + c + " [*" + static_cast<char>(c - 1) + ", *" +
              static_cast<char>(c - 1) + "]\n";
  CHECK(problems_of(laughs).size() > 20);
  std::string many;
  for (int i = 0; i < 5000; ++i)
    many += "a: &a *a\n";
  CHECK(problems_of(many).size() <= 100);
  CHECK(timer.seconds() < 20);
}

TEST_CASE("yaml: files are bounded and named") {
  const TestFolder folder;
  const std::string path = folder.write("big.yaml", std::string(kMaxYamlBytes + 1, '#'));
  CHECK_THROWS_AS(read_yaml(path), UserError);
  CHECK(read_yaml(folder.write("small.yaml", "a: 1")).find("a")->value.whole == 1);
}
