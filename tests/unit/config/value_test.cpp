#include "config/value.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"
#include "config/csv.h"

using namespace rushes;
using Kind = Value::Kind;

TEST_CASE("plain scalars: YAML 1.2's core schema") {
  const auto kind = [](const char* text) { return plain_scalar(text, 1).kind; };
  CHECK(kind("") == Kind::nothing);
  CHECK(kind("~") == Kind::nothing);
  CHECK(kind("null") == Kind::nothing);
  CHECK(kind("true") == Kind::boolean);
  CHECK(kind("yes") == Kind::text);
  CHECK(kind("12") == Kind::whole);
  CHECK(kind("+12") == Kind::whole);
  CHECK(kind("-12") == Kind::whole);
  CHECK(kind("007") == Kind::whole);
  CHECK(kind("1.5") == Kind::number);
  CHECK(kind(".5") == Kind::number);
  CHECK(kind("1e3") == Kind::number);
  CHECK(kind("64.0") == Kind::number);
  CHECK(kind("99999999999999999999") == Kind::number);
  CHECK(kind("nan") == Kind::text);
  CHECK(kind("inf") == Kind::text);
  CHECK(kind("infinity") == Kind::text);
  CHECK(kind("1_000") == Kind::text);
  CHECK(kind("0x10") == Kind::text);
  CHECK(kind("12px") == Kind::text);
  CHECK(kind("-") == Kind::text);
  CHECK(kind("+-1") == Kind::text);
  CHECK(kind("2026-11-21") == Kind::text);
  CHECK(plain_scalar("9223372036854775807", 1).whole == INT64_MAX);
  CHECK(plain_scalar("-9223372036854775808", 1).whole == INT64_MIN);
  CHECK(plain_scalar("-1.5e-2", 1).number == -0.015);
  CHECK(plain_scalar("12", 1).number == 12);
  CHECK(std::isnan(plain_scalar(".nan", 1).number));
  CHECK(plain_scalar("-.inf", 1).number == -INFINITY);
  CHECK(plain_scalar("1e999", 1).number == INFINITY);
  CHECK(plain_scalar("1e-999", 1).number == 0);
}

TEST_CASE("yaml_line: texts keep their meaning") {
  for (const char* text : {"",          "plain words", "12",        "true", "null", "- x",
                           "a: b",      "x # y",       "[x]",       "'",    "\"",   "a\nb",
                           "~",         ".5",          "runs/demo", "1e3",  "---",  "gr\xC3\xBC\xC3\x9F",
                           "trailing ", "{date}",      "a,b",       "*x",   "&x",   "!x",
                           "%x",        "@x",          "?",         "\t"}) {
    const std::string line = yaml_line(std::string(text));
    INFO(line);
    if (line.front() == '"') {
      CHECK(nlohmann::json::parse(line).get<std::string>() == text);
    } else {
      CHECK(line == text);
      CHECK(plain_scalar(line, 0).kind == Kind::text);
      CHECK(line.find_first_of(":#,[]{}&*!|>'\"%\n\t") == std::string::npos);
      CHECK(line.front() != '@');
    }
  }
  CHECK(yaml_line(nlohmann::ordered_json{{"b", 1}, {"a", {1.5, "x y", nullptr}}}) ==
        "{b: 1, a: [1.5, x y, null]}");
  CHECK(yaml_line(5.0) == "5.0");
}

TEST_CASE("json: there and back") {
  const auto json = nlohmann::json::parse(R"({"a": [1, 2.5, "x", null, true, {"b": {}}], "c": -3})");
  CHECK(nlohmann::json(to_json(from_json(json, 7))) == json);
  CHECK(from_json(json, 7).find("c")->line == 7);
  CHECK(from_json(nlohmann::json::parse("18446744073709551615"), 1).kind == Kind::number);
}

TEST_CASE("shortened: cuts between characters") {
  CHECK(shortened("abc", 3) == "abc");
  CHECK(shortened("abcd", 3) == "abc...");
  CHECK(shortened("a\xE2\x82\xAC", 2) == "a...");
}

TEST_CASE("check_utf8: names the lines") {
  try {
    check_utf8(std::string_view("good\nb\xFF\nx\0y\n", 12), "f.txt");
    FAIL("nothing was thrown");
  } catch (const UserError& error) {
    REQUIRE(error.problems().size() == 2);
    CHECK(error.problems()[0] == "f.txt:2: is not UTF-8; save the file as UTF-8 text");
    CHECK(error.problems()[1] == "f.txt:3: holds a NUL byte; save the file as UTF-8 text");
  }
  CHECK_NOTHROW(check_utf8("\xEF\xBB\xBFgood", "f.txt"));
}

TEST_CASE("csv: RFC 4180") {
  Problems problems;
  const auto rows = parse_csv("a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n,\n\"\",end", "f.csv", problems);
  CHECK(problems.empty());
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].cells == std::vector<std::string>{"a", "b"});
  CHECK(rows[1].cells == std::vector<std::string>{"1", "x, \"y\"\nz"});
  CHECK(rows[1].line == 2);
  CHECK(rows[2].cells == std::vector<std::string>{"", ""});
  CHECK(rows[2].line == 5);
  CHECK(rows[3].cells == std::vector<std::string>{"", "end"});
  CHECK(parse_csv("", "f.csv", problems).empty());
}

TEST_CASE("csv: what is wrong, and the rows that are good") {
  Problems problems;
  const auto rows = parse_csv("a\nx\"y\n\"x\"y\ngood\n\"open\nmore", "f.csv", problems);
  REQUIRE(problems.list().size() == 3);
  CHECK(problems.list()[0].find("f.csv:2: a quote inside a cell") == 0);
  CHECK(problems.list()[1].find("f.csv:3: text behind the closing quote") == 0);
  CHECK(problems.list()[2].find("f.csv:5: a quote is opened here") == 0);
  CHECK(rows.size() == 2);
}
