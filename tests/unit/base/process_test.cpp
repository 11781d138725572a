#include "base/process.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rushes;

TEST_CASE("a program's exit code and both of its outputs come back, however long they are") {
  const Ended ended = run_program({"sh", "-c", "seq 100000; seq 50000 >&2; exit 7"});
  CHECK(ended.code == 7);
  CHECK(ended.out.size() == 588895);
  CHECK(ended.out.ends_with("\n100000\n"));
  CHECK(ended.err.ends_with("\n50000\n"));
  CHECK(run_program({"sh", "-c", "kill -9 $$"}).code == 128 + 9);
  CHECK(run_program({"cat"}).out.empty());
  CHECK_THROWS_AS(run_program({"no-such-program-here"}), UserError);
}

TEST_CASE("what a shell makes of a word is the text it was made of") {
  for (const std::string text :
       {"", "plain", "two words", "it's", "$(reboot)", "a\"b\\c", "*", "a\nb", "~", "#x"}) {
    CAPTURE(text);
    CHECK(run_program({"sh", "-c", "printf %s " + shell_word(text)}).out == text);
  }
  CHECK(shell_word("jobs/demo.yaml") == "jobs/demo.yaml");
}

TEST_CASE("programs are found as a shell finds them") {
  CHECK(find_program("sh").ends_with("/sh"));
  CHECK(find_program("no-such-program-here").empty());
}

TEST_CASE("a message of several lines becomes one") {
  CHECK(one_line("a\nb\tc\x01"
                 "d\n\n") == "a b c?d");
}
