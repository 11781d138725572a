#include "config/json_fields.h"

#include <catch2/catch.hpp>

using namespace rushes;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using nlohmann::json;

namespace {

std::string complaint(JsonFields& fields) {
  try {
    fields.finish();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("Fields of every kind are read, absent ones take their default") {
  const json object =
      json::parse(R"({"i":3,"n":2.5,"whole":4,"b":true,"t":"x","is":[1,2],"ns":[1,2.5],"bs":[true,false],
    "null":null,"_class_name":"X"})");
  JsonFields fields(object, "f");
  CHECK(fields.integer("i") == 3);
  CHECK(fields.number("n") == 2.5);
  CHECK(fields.number("whole") == 4.0);
  CHECK(fields.boolean("b", false));
  CHECK(fields.text("t", "") == "x");
  CHECK(fields.integers("is", {}) == std::vector<int64_t>{1, 2});
  CHECK(fields.numbers("ns", {}) == std::vector<double>{1, 2.5});
  CHECK(fields.booleans("bs", {}) == std::vector<bool>{true, false});
  CHECK_FALSE(fields.optional_integer("null", 7).has_value());
  CHECK(fields.optional_integer("absent", 7) == 7);
  CHECK(fields.optional_number("n") == 2.5);
  CHECK(fields.optional_text("t") == "x");
  CHECK(fields.integer("absent", 9) == 9);
  CHECK(fields.integers("absent", {5}) == std::vector<int64_t>{5});
  CHECK(fields.has("i"));
  CHECK_FALSE(fields.has("absent"));
  CHECK(complaint(fields).empty());
}

TEST_CASE("Wrong types are noted with what was found, all at once") {
  const json object = json::parse(
      R"({"i":3.0,"n":"2","b":1,"t":null,"is":[1,"a"],"ns":5,"o":"x","big":18446744073709551615})");
  JsonFields fields(object, "m/config.json");
  fields.integer("i");
  fields.number("n", 1);
  fields.boolean("b", false);
  fields.text("t", "");
  CHECK(fields.integers("is", {7}) == std::vector<int64_t>{7});
  fields.numbers("ns", {});
  fields.optional_integer("o");
  fields.integer("big", 0);
  fields.integer("needed");
  const std::string text = complaint(fields);
  for (const char* part :
       {"m/config.json: i: needs a whole number, found number 3.0", "n: needs a number, found string \"2\"",
        "b: needs true or false", "t: needs a text, found null", "is: needs a list of whole numbers",
        "at position 1", "ns: needs a list of numbers", "o: needs a whole number or null",
        "big: needs a whole number", "missing field 'needed'"})
    CHECK_THAT(text, Contains(part));
}

TEST_CASE("A field nobody read is an error with the nearest known one") {
  const json object = json::parse(R"({"num_layer":3,"_note":1,"stamp":2})");
  JsonFields fields(object, "f");
  fields.integer("num_layers");
  fields.harmless({"stamp"});
  CHECK_THAT(complaint(fields), Contains("unknown field 'num_layer'") &&
                                    Contains("did you mean 'num_layers'") &&
                                    Contains("missing field 'num_layers'; did you mean 'num_layer'") &&
                                    !Contains("stamp") && !Contains("_note"));
}

TEST_CASE("Only one value, and ranges") {
  const json object = json::parse(R"({"a":"rms","b":1.0,"c":2})");
  JsonFields fields(object, "f");
  fields.only("a", "layer");
  fields.only("b", 1);
  fields.only("absent", true);
  fields.range("c", static_cast<double>(fields.integer("c")), 3, 4);
  CHECK_THAT(complaint(fields), Contains("a: only \"layer\" is supported, found string \"rms\"") &&
                                    Contains("c: must lie between 3 and 4, is 2") && !Contains("b:"));
}

TEST_CASE("Fields for which a default stood in are told by name") {
  const json object = json::parse(R"({"there":1,"null":null})");
  JsonFields fields(object, "m/config.json");
  fields.integer("there", 5);
  fields.integer("count", 5);
  fields.optional_integer("null", 3);
  fields.numbers("list", {});
  fields.only("fixed", true);
  fields.harmless({"training"});
  CHECK_THAT(fields.defaults_taken(),
             StartsWith("m/config.json lacks count, list, so the default was taken"));
  fields.finish();
  JsonFields whole(object, "f");
  whole.integer("there", 5);
  CHECK(whole.defaults_taken().empty());
}

TEST_CASE("Long keys and values are cut") {
  const std::string word(1 << 20, 'w');
  const json object = {{word, word}, {"a", word}};
  JsonFields fields(object, "f");
  fields.integer("a", 1);
  const std::string said = complaint(fields);
  CHECK_THAT(said, Contains("unknown field 'www") && Contains("www...www") && Contains("(1048576 bytes)"));
  CHECK(said.size() < 600);
}

TEST_CASE("What is no object is said once") {
  const json object = json::array();
  JsonFields fields(object, "f");
  fields.integer("x");
  CHECK(complaint(fields) == "f: must be a JSON object, found array []");
}
