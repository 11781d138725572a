#include <catch2/catch.hpp>
#include <string>
#include <utility>

#include "base/error.h"
#include "support/folder.h"
#include "weights/hub/content_hash.h"
#include "weights/hub/http.h"
#include "weights/hub/model_id.h"
#include "weights/hub/pull_progress.h"

using namespace rushes;
using namespace rushes::hub;

TEST_CASE("a model's name on the Hub is taken apart") {
  CHECK(parse_model_id("org/name").text() == "org/name");
  CHECK(parse_model_id("org/name@main").text() == "org/name");
  const ModelId id = parse_model_id("Wan-AI/Wan2.1-T2V-1.3B-Diffusers@refs/pr/1");
  CHECK(id.name == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers");
  CHECK(id.revision == "refs/pr/1");
  CHECK(parse_model_id("a/b@" + std::string(40, 'A')).revision == std::string(40, 'a'));
}

TEST_CASE("a name that would be no folder of the cache is refused") {
  for (const char* text : {"",       "name",       "a/b/c",  "../b",     "a/..",     "./b",     "a/b--c",
                           "a--b/c", "-a/b",       "a/b.",   "/b",       "a/",       "a/b c",   "a/b@",
                           "a/b@..", "a/b@x/../y", "a/b@/x", "a/b@x//y", "a/b@x\ny", "a/b@x\\y"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_model_id(text), UserError);
  }
  CHECK_THROWS_AS(parse_model_id("a/" + std::string(100, 'b')), UserError);
}

TEST_CASE("what may be meant as a model of the Hub") {
  for (const char* text : {"org/name", "org/name@v1", "a/..", "a.b/c_d"})
    CHECK(looks_like_model_id(text));
  for (const char* text : {"name", "a/b/c", "./name", "../name", "/name", "~/name", "a b/c", "", "@a/b"})
    CHECK_FALSE(looks_like_model_id(text));
}

TEST_CASE("a path that a server names stays inside") {
  for (const char* text : {"model_index.json", "vae/config.json", "a/b/c/d", "...", "a..b/c", "\xc3\xa9"})
    CHECK_FALSE(wrong_path(text));
  for (const std::string& text :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string(".."),
        std::string("a/../b"), std::string("a/."), std::string("a\\b"), std::string("a\0b", 3),
        std::string("a\nb"), std::string("\xff"), std::string(201, 'a'), "a/" + std::string(201, 'a'),
        std::string(1001, 'a')}) {
    INFO(text);
    CHECK(wrong_path(text));
  }
}

TEST_CASE("contents hash as sha256sum and git hash-object say") {
  const std::string text = "hello\n";
  ContentHash large(std::string(64, '0'), text.size());
  large.add(text.substr(0, 2));
  large.add(text.substr(2));
  CHECK(large.finish() == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  const TestFolder folder;
  const std::string file = folder.write("hello", text);
  CHECK(hash_of_file(file, std::string(40, '0'), text.size()) == "ce013625030ba8dba906f756967f9e9ca394464a");
  CHECK(hash_of_file(folder.write("empty", ""), std::string(40, '0'), 0) ==
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  CHECK_THROWS_AS(hash_of_file(folder / "none", std::string(40, '0'), 0), UserError);
}

TEST_CASE("addresses and figures as text") {
  CHECK(url_escaped("refs/pr/1", false) == "refs%2Fpr%2F1");
  CHECK(url_escaped("vae/a b?#%.json", true) == "vae/a%20b%3F%23%25.json");
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(999) == "999 B");
  CHECK(bytes_text(1000) == "1.0 kB");
  CHECK(bytes_text(28'430'000'000) == "28.4 GB");
  Reply reply;
  for (const auto& [text, seconds] :
       {std::pair{"", 0.0}, {"120", 120.0}, {"-1", 0.0}, {"Wed, 21 Oct", 0.0}, {"99999999", 0.0}}) {
    reply.headers["retry-after"] = text;
    CHECK(reply.retry_after() == seconds);
  }
}

TEST_CASE("the token goes to the Hub's own origin only") {
  Settings settings;
  settings.endpoint = "https://hub.example";
  const HttpClient http(settings, {});
  for (const char* url : {"https://hub.example/a", "https://HUB.example:443/a?b"})
    CHECK(http.is_hub(url));
  for (const char* url :
       {"http://hub.example/a", "https://hub.example:8443/a", "https://hub.example.evil/a",
        "https://evil/hub.example", "https://hub.example@evil/a", "https://cdn.hub.example/a"})
    CHECK_FALSE(http.is_hub(url));
}
