#include "jobs/prompts.h"

#include <catch2/catch.hpp>

#include "base/timer.h"
#include "config/fields.h"
#include "config/job_file.h"
#include "config/yaml/yaml.h"
#include "support/folder.h"

using namespace rushes;

namespace {

const PromptRules kRules{
    {"height", "width", "num_frames", "fps", "guidance_scale", "negative_prompt", "seed", "samples"},
    "SomePipeline"};

struct Read {
  std::vector<PromptRow> rows;
  std::vector<std::string> problems;
};

Read read_value(const Value& value) {
  Problems problems;
  Read read;
  read.rows = read_prompts(value, "job.yaml", kRules, problems);
  read.problems = problems.list();
  return read;
}

/// Reads prompts from a file of this name; its folder is cut from the messages.
Read read_as(const std::string& name, const std::string& bytes) {
  const TestFolder folder;
  Read read = read_value(text_value(folder.write(name, bytes), 1));
  const std::string start = folder.path().string() + "/";
  const auto cut = [&](std::string& text) {
    const size_t at = text.find(start);
    if (at != std::string::npos) text.erase(at, start.size());
  };
  for (std::string& problem : read.problems)
    cut(problem);
  for (PromptRow& row : read.rows) {
    cut(row.where);
    cut(row.document);
  }
  return read;
}

std::vector<std::string> texts(const Read& read) {
  std::vector<std::string> list;
  for (const PromptRow& row : read.rows)
    list.push_back(row.prompt);
  return list;
}

using List = std::vector<std::string>;

}  // namespace

TEST_CASE("prompts: .txt is a prompt a line") {
  const Read read = read_as("p.txt",
                            "\xEF\xBB\xBF"
                            "one\r\n\r\n  \n# not a comment\r\ngr\xC3\xBC\xC3\x9F\nlast");
  CHECK(read.problems.empty());
  CHECK(texts(read) == List{"one", "# not a comment", "gr\xC3\xBC\xC3\x9F", "last"});
  CHECK(read.rows[1].where == "p.txt:4");
  CHECK_FALSE(read.rows[0].id.has_value());
}

TEST_CASE("prompts: .txt lines that are no text are named, the others kept") {
  const Read read = read_as("p.txt", std::string("one\nb\xFF\nx\0y\nlast\n", 15));
  CHECK(texts(read) == List{"one", "last"});
  CHECK(read.problems == List{"p.txt:2: is not UTF-8; save the file as UTF-8 text",
                              "p.txt:3: holds a NUL byte; save the file as UTF-8 text"});
}

TEST_CASE("prompts: .jsonl") {
  const Read read =
      read_as("p.jsonl",
              "\xEF\xBB\xBF{\"prompt\": \"one\", \"id\": \"a.b-c_1\", \"seed\": 7, \"guidance_scale\": 2}\r\n"
              "\r\n{\"prompt\": \"\"}\n");
  CHECK(read.problems.empty());
  CHECK(texts(read) == List{"one", ""});
  CHECK(read.rows[0].id == "a.b-c_1");
  REQUIRE(read.rows[0].settings.size() == 2);
  CHECK(read.rows[1].where == "p.jsonl:3");
}

TEST_CASE("prompts: .jsonl, everything wrong with its line") {
  const Read read = read_as("p.jsonl",
                            "{\"prompt\": \"one\"\n"
                            "\"only text\"\n"
                            "{\"promt\": \"x\"}\n"
                            "{\"prompt\": 5}\n"
                            "{\"prompt\": \"x\", \"id\": 7}\n"
                            "{\"prompt\": \"x\", \"height\": \"tall\"}\n"
                            "{\"prompt\": \"x\", \"prompt\": \"y\"}\n"
                            "{\"prompt\": \"x\", \"image\": \"a.png\"}\n"
                            "{\"prompt\": \"x\", \"flow_shift\": 3}\n"
                            "{\"prompt\": \"a\\u0000b\"}\n"
                            "{\"prompt\": \"good\"}\n"
                            "{\"prompt\": \"x\", \"seed\": -1}\n"
                            "{\"prompt\": \"x\", \"guidance_scale\": 1e999}\n"
                            "[1]\n");
  CHECK(texts(read) == List{"good"});
  REQUIRE(read.problems.size() == 14);
  CHECK(read.problems[0].find("p.jsonl:1:16: not valid JSON") == 0);
  CHECK(read.problems[1] ==
        "p.jsonl:2: must be an object like {\"prompt\": \"...\"}; found the text 'only text'");
  CHECK(read.problems[2] == "p.jsonl:3: promt: unknown key; did you mean 'prompt'?");
  CHECK(read.problems[3] == "p.jsonl:3: no prompt in this line; add the key 'prompt'");
  CHECK(read.problems[4] == "p.jsonl:4: prompt: must be a text (put it in quotes); found the number 5");
  CHECK(read.problems[5] == "p.jsonl:5: id: must be a text (put it in quotes); found the number 7");
  CHECK(read.problems[6] ==
        "p.jsonl:6: height: must be a whole number from 1 to 16384; found the text 'tall'");
  CHECK(read.problems[7].find("p.jsonl:7:") == 0);
  CHECK(read.problems[7].find("twice") != std::string::npos);
  CHECK(read.problems[8] == "p.jsonl:8: image: no stage of SomePipeline reads this key; remove it");
  CHECK(read.problems[9] == "p.jsonl:9: flow_shift: no stage of SomePipeline reads this key; remove it");
  CHECK(read.problems[10] == "p.jsonl:10: prompt: holds a NUL or a broken character");
  CHECK(read.problems[11].find("p.jsonl:12: seed: must be a whole number from 0 to 9223372036854775807") ==
        0);
  CHECK(read.problems[12].find("p.jsonl:13") == 0);
  CHECK(read.problems[13].find("p.jsonl:14: must be an object") == 0);
}

TEST_CASE("prompts: .csv") {
  const Read read = read_as("p.csv",
                            "\xEF\xBB\xBFid, prompt,seed,negative_prompt\r\n"
                            "007,\"two\nlines, \"\"quoted\"\"\",3,5\r\n"
                            ",plain,,\n");
  CHECK(read.problems.empty());
  CHECK(texts(read) == List{"two\nlines, \"quoted\"", "plain"});
  CHECK(read.rows[0].id == "007");
  CHECK(read.rows[0].settings.size() == 2);
  CHECK_FALSE(read.rows[1].id.has_value());
  CHECK(read.rows[1].settings.empty());
  CHECK(read.rows[1].where == "p.csv:4");
}

TEST_CASE("prompts: lines may end with CR alone") {
  const Read table = read_as("p.csv", "prompt,seed\rone,1\r\r\"t\rwo\",2\rthree,x\r");
  CHECK(texts(table) == List{"one", "t\rwo"});
  CHECK(table.rows[1].where == "p.csv:4");
  REQUIRE(table.problems.size() == 1);
  CHECK(table.problems[0].find("p.csv:6: seed: ") == 0);
  CHECK(texts(read_as("p.txt", "one\rtwo\r\nthree\n")) == List{"one", "two", "three"});
  CHECK(texts(read_as("p.jsonl", "{\"prompt\": \"one\"}\r{\"prompt\": \"two\"}\r")) == List{"one", "two"});
}

TEST_CASE("prompts: .csv, what is wrong") {
  CHECK(read_as("p.csv", "text,seed\nx,1\n").problems ==
        List{"p.csv:1: the header has no column 'prompt'; it has text, seed"});
  CHECK(read_as("p.csv", "prompt,prompt\nx,1\n").problems ==
        List{"p.csv:1: prompt: this column stands twice in the header"});
  CHECK(read_as("p.csv", "prompt,\nx,1\n").problems ==
        List{"p.csv:1: the header has a column without a name"});
  CHECK(read_as("p.csv", "prompt,seed\nx\ny,1,2\n").problems ==
        List{"p.csv:2: 1 cells; the header has 2", "p.csv:3: 3 cells; the header has 2"});
  CHECK(read_as("p.csv", "prompt,sed\nx,1\n").problems ==
        List{"p.csv:2: sed: unknown key; did you mean 'seed'?"});
  CHECK(read_as("p.csv", "prompt,seed\n,1\n").problems ==
        List{"p.csv:2: prompt: the cell is empty; where no words are meant, give {\"prompt\": \"\"} in a "
             ".jsonl file"});
  CHECK(read_as("p.csv", "prompt,seed\nx,1.5\n").problems ==
        List{"p.csv:2: seed: must be a whole number from 0 to 9223372036854775807; found the number 1.5"});
  CHECK(read_as("p.csv", "prompt\n\xFF\n").problems ==
        List{"p.csv:2: is not UTF-8; save the file as UTF-8 text"});
}

TEST_CASE("prompts: .yaml and lists in the job file") {
  const std::string yaml = "- one\n- {prompt: two, seed: 3}\n- prompt: three\n  id: x\n";
  Read read = read_as("p.yaml", yaml);
  CHECK(read.problems.empty());
  CHECK(texts(read) == List{"one", "two", "three"});
  CHECK(read.rows[2].where == "p.yaml:3");
  read = read_value(parse_yaml(yaml, "job.yaml"));
  CHECK(texts(read) == List{"one", "two", "three"});
  CHECK(read.rows[2].where == "job.yaml:3");
  CHECK(read_as("p.yml", "prompts: [x]\n").problems ==
        List{"p.yml: must be a list of prompts; found a mapping"});
  read = read_as("p.yaml", "- 5\n- {prompt: x, hieght: 3}\n- [a]\n-\n");
  REQUIRE(read.problems.size() == 4);
  CHECK(read.problems[0] ==
        "p.yaml:1: must be a prompt in quotes or a mapping like {prompt: ...}; found the number 5");
  CHECK(read.problems[1] == "p.yaml:2: hieght: unknown key; did you mean 'height'?");
  CHECK(read.problems[2].find("found a list") != std::string::npos);
  CHECK(read.problems[3].find("found nothing") != std::string::npos);
}

TEST_CASE("prompts: nothing to do is an error, and so is a file that is not there") {
  CHECK(read_as("p.txt", "").problems == List{"p.txt: prompts: there are none; one at least is needed"});
  CHECK(read_as("p.txt", "\n \r\n").problems.size() == 1);
  CHECK(read_as("p.jsonl", "\xEF\xBB\xBF").problems.size() == 1);
  CHECK(read_as("p.csv", "").problems.size() == 1);
  CHECK(read_as("p.csv", "prompt\n").problems.size() == 1);
  CHECK(read_as("p.yaml", "[]").problems.size() == 1);
  CHECK(read_as("p.doc", "x").problems ==
        List{"p.doc: the ending says no format of prompts; .txt, .csv, .jsonl and .yaml are read"});
  const Read missing = read_value(text_value("no/such.txt", 1));
  CHECK(missing.problems == List{"cannot read no/such.txt: No such file or directory"});
}

TEST_CASE("prompts: many problems are counted, not all printed") {
  std::string bytes;
  for (int i = 0; i < 1000; ++i)
    bytes += "{\n";
  const Read read = read_as("p.jsonl", bytes);
  CHECK(read.problems.size() == 51);
  CHECK(read.problems.back() == "p.jsonl: and more like these; reading stopped there");
}

TEST_CASE("prompts: ids are file names") {
  CHECK(read_as("p.jsonl", "{\"prompt\": \"x\", \"id\": \"../etc\"}\n")
            .problems[0]
            .find("p.jsonl:1: id: '../etc'") == 0);
}

TEST_CASE("prompts: a 10 MB prompt and a hundred thousand lines are read at once") {
  const Timer timer;
  const std::string large(10 << 20, 'x');
  CHECK(read_as("p.jsonl", "{\"prompt\": \"" + large + "\"}\n").rows[0].prompt.size() == large.size());
  CHECK(read_as("p.txt", large).rows.size() == 1);
  std::string many;
  for (int i = 0; i < 100000; ++i)
    many += str("{\"prompt\": \"number ", i, "\", \"seed\": ", i, "}\n");
  CHECK(read_as("p.jsonl", many).rows.size() == 100000);
  CHECK(timer.seconds() < 30);
}
