#include "config/file_names.h"

#include <catch2/catch.hpp>

using namespace rushes;

TEST_CASE("file names: ids") {
  CHECK(id_problem("a.B-9_").empty());
  CHECK(id_problem(std::string(200, 'x')).empty());
  for (const char* bad :
       {"", ".", "..", ".hidden", "../x", "a/b", "a b", "a\\b", "a:b", "gr\xC3\xBC\xC3\x9F", "a\nb"}) {
    INFO(bad);
    CHECK_FALSE(id_problem(bad).empty());
  }
  CHECK_FALSE(id_problem(std::string("a\0b", 3)).empty());
  CHECK(id_problem(std::string(300, 'x')) == "has 300 bytes; at most 200 fit into a file name");
}

TEST_CASE("file names: paths inside a folder") {
  for (const char* good : {"a", "videos/a.mp4", "a/..b/c..", "20/frames/00000.png"}) {
    INFO(good);
    CHECK(inner_path_problem(good).empty());
  }
  for (const char* bad : {"", "/etc/passwd", "..", "../a", "a/../../b", "a/..", "./a", "."}) {
    INFO(bad);
    CHECK_FALSE(inner_path_problem(bad).empty());
  }
  CHECK_FALSE(inner_path_problem(std::string("a\0b", 3)).empty());
}
