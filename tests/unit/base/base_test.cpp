#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/stop.h"

using namespace rushes;

TEST_CASE("nearest: edits are counted as people make them") {
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("height", "height") == 0);
  CHECK(edit_distance("hieght", "height") == 1);  // neighbours swapped
  CHECK(edit_distance("heigth", "height") == 1);
  CHECK(edit_distance("heght", "height") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
}

TEST_CASE("nearest: the closest word within a third of its length, else none") {
  const std::vector<std::string> known = {"height", "width", "num_frames", "num_inference_steps"};
  CHECK(nearest("hieght", known) == "height");
  CHECK(nearest("num_frame", known) == "num_frames");
  CHECK(nearest("numinferencesteps", known) == "num_inference_steps");
  CHECK(nearest("banana", known).empty());
  CHECK(nearest(std::string(1 << 20, 'x'), known).empty());
  CHECK(did_you_mean("widht", known) == "; did you mean 'width'?");
  CHECK(did_you_mean("banana", known).empty());
}

TEST_CASE("hide_secrets: tokens leave no trace in a log line") {
  setenv("HF_TOKEN", "my-secret-token", 1);
  CHECK(hide_secrets("GET x?token=my-secret-token&y my-secret-token") == "GET x?token=***&y ***");
  unsetenv("HF_TOKEN");
  CHECK(hide_secrets("my-secret-token") == "my-secret-token");
  CHECK(hide_secrets("key hf_abcdefghijklmnopqrstuvwxyz012345, on") == "key ***, on");
  CHECK(hide_secrets("hf_short is no token") == "hf_short is no token");
}

TEST_CASE("env: one row a variable, and its value") {
  std::set<std::string> names;
  for (const EnvRow& row : env_table()) {
    CHECK(names.insert(row.name).second);
    CHECK(std::string(row.meaning).size() > 5);
    CHECK_NOTHROW(env(row.variable));
  }
  setenv("RUSHES_LOG", "debug", 1);
  CHECK(env(EnvVar::log_level) == "debug");
  unsetenv("RUSHES_LOG");
  CHECK(env(EnvVar::log_level).empty());
}

TEST_CASE("problems: everything wrong is thrown at once") {
  Problems problems;
  CHECK_NOTHROW(problems.throw_if_any());
  problems.add("a.yaml:", 3, ": x");
  problems.add("b");
  try {
    problems.throw_if_any();
    FAIL("nothing was thrown");
  } catch (const UserError& error) {
    CHECK(error.problems() == std::vector<std::string>{"a.yaml:3: x", "b"});
    CHECK(std::string(error.what()) == "a.yaml:3: x\nb");
  }
}

TEST_CASE("checks: a broken one tells place, condition and values") {
  try {
    RUSHES_CHECK(1 + 1 == 3, "sum ", 2);
    FAIL("nothing was thrown");
  } catch (const InternalError& error) {
    const std::string text = error.what();
    CHECK(text.find("base_test.cpp") != std::string::npos);
    CHECK(text.find("1 + 1 == 3") != std::string::npos);
    CHECK(text.find("sum 2") != std::string::npos);
  }
}

TEST_CASE("stop: asked for once, seen at the next check") {
  StopToken stop;
  CHECK_NOTHROW(stop.check("step 1"));
  stop.request();
  CHECK(stop.requested());
  CHECK_THROWS_AS(stop.check("step 2"), StoppedEarly);
}
