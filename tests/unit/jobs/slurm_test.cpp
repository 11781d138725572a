#include "jobs/slurm.h"

#include <catch2/catch.hpp>

#include "jobs/submission.h"

using namespace rushes;

namespace {

std::optional<int64_t> seconds_of_limit(const std::string& text) {
  std::optional<int64_t> seconds;
  REQUIRE(read_slurm_time(text, seconds));
  return seconds;
}

std::vector<std::string> problems_of(const Submission& wanted, const std::string& sinfo) {
  Problems problems;
  check_submission(
      wanted, read_partitions(sinfo), [](const std::string& key) { return "at " + key; }, problems);
  return problems.list();
}

const std::string kSinfo =
    "cpu*|up|1-00:00:00|10|64|257000|(null)\n"
    "gpu|up|12:00:00|4|96+|1000000|gpu:h100:4(S:0-1),gpu:a100:2\n"
    "gpu|up|12:00:00|2|128|500000|gpu:8\n"
    "old|down|infinite|1|8|16000|(null)\n";

}  // namespace

TEST_CASE("time limits are read as Slurm reads them") {
  CHECK(seconds_of_limit("90") == 90 * 60);
  CHECK(seconds_of_limit("90:30") == 90 * 60 + 30);
  CHECK(seconds_of_limit("12:00:00") == 12 * 3600);
  CHECK(seconds_of_limit("2-12") == 60 * 3600);
  CHECK(seconds_of_limit("1-00:30") == 86400 + 1800);
  CHECK(seconds_of_limit("1-02:03:04") == 86400 + 7384);
  CHECK_FALSE(seconds_of_limit("infinite").has_value());
  for (const std::string wrong : {"", "tomorrow", "1:2:3:4", "-5", "0", "1.5", "12h", "1-", "99999999999"}) {
    CAPTURE(wrong);
    std::optional<int64_t> seconds;
    CHECK_FALSE(read_slurm_time(wrong, seconds));
  }
}

TEST_CASE("sizes of memory are read as Slurm reads them") {
  CHECK(read_slurm_memory("64G") == 65536);
  CHECK(read_slurm_memory("512") == 512);
  CHECK(read_slurm_memory("2048K") == 2);
  CHECK(read_slurm_memory("1T") == 1048576);
  CHECK(read_slurm_memory("0") == 0);
  CHECK_FALSE(read_slurm_memory("lots").has_value());
  CHECK_FALSE(read_slurm_memory("").has_value());
  CHECK_FALSE(read_slurm_memory("-1G").has_value());
}

TEST_CASE("a partition has the most of what its kinds of nodes have") {
  const auto partitions = read_partitions(kSinfo);
  REQUIRE(partitions.size() == 3);
  CHECK(partitions[0].is_default);
  CHECK(partitions[0].name == "cpu");
  CHECK(partitions[0].gpus == 0);
  CHECK(partitions[0].most_seconds == 86400);
  CHECK(partitions[1].nodes == 6);
  CHECK(partitions[1].gpus == 8);
  CHECK(partitions[1].cpus == 128);
  CHECK(partitions[1].memory == 1000000);
  CHECK_FALSE(partitions[2].up);
  CHECK_FALSE(partitions[2].most_seconds.has_value());
  CHECK(read_partitions("").empty());
  CHECK(read_partitions("nonsense\n|||\n").empty());
}

TEST_CASE("what a partition cannot give is told with what it has") {
  Submission wanted;
  CHECK(problems_of(wanted, kSinfo).empty());
  wanted.nodes = 11;
  wanted.time = "2-00:00:00";
  const std::vector<std::string> both = {
      "at nodes: cluster.nodes: 11 asked for, but partition cpu has at most 10 nodes",
      "at time: cluster.time: 172800 asked for, but partition cpu has at most 86400 seconds for a job"};
  CHECK(problems_of(wanted, kSinfo) == both);
  wanted = {};
  wanted.gpus_per_node = 1;
  CHECK(problems_of(wanted, kSinfo) ==
        std::vector<std::string>{
            "at gpus_per_node: cluster.gpus_per_node: 1 asked for, but partition cpu has no GPUs on a node"});
  wanted.partition = "gup";
  CHECK(problems_of(wanted, kSinfo) ==
        std::vector<std::string>{
            "at partition: cluster.partition: Slurm has no partition 'gup'; there are cpu, "
            "gpu, old; did you mean 'gpu'?"});
  wanted.partition = "gpu";
  wanted.gpus_per_node = 8;
  CHECK(problems_of(wanted, kSinfo).empty());
  wanted.cpus_per_rank = 17;
  CHECK(problems_of(wanted, kSinfo).size() == 1);
  wanted.partition = "old";
  CHECK(problems_of(wanted, kSinfo).size() == 3);  // GPUs, CPUs, and that it is down
  wanted.partition = "cpu,gpu";
  CHECK(problems_of(wanted, kSinfo).empty());
}

TEST_CASE("a template's words are filled in; lines of #SBATCH without a value go") {
  const std::string text =
      "#!/bin/bash\n#SBATCH --partition=@partition@\n#SBATCH --signal=B:USR1@@warning@\n#SBATCH "
      "--mem=@memory@\n"
      "cd @folder@ # mail me@here.org\n@setup@\n";
  CHECK(fill_script(
            text,
            {{"partition", "gpu"}, {"warning", "120"}, {"memory", ""}, {"folder", "/a"}, {"setup", ""}}) ==
        "#!/bin/bash\n#SBATCH --partition=gpu\n#SBATCH --signal=B:USR1@120\ncd /a # mail me@here.org\n\n");
  // A value is not looked at again.
  CHECK(fill_script("@a@\n", {{"a", "@b@"}, {"b", "x"}}) == "@b@\n");
}
