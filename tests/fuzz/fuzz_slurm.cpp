// What tells of a Slurm: a site's settings, what sinfo prints, times and sizes. What is taken can be asked
// for and judged.

#include "config/job_file.h"
#include "fuzz.h"
#include "jobs/sites.h"
#include "jobs/slurm.h"

using namespace rushes;

namespace {

/// Throws UserError with what is wrong.
Submission settings_of(const fuzz::Scratch& scratch, const std::string& text) {
  const Site site = read_site(scratch.write("site.env", text).string());
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("site.env", problems, sources);
  Submission wanted;
  read_fields(cluster_fields(), wanted, site.values, "cluster.", reading);
  problems.throw_if_any();
  return wanted;
}

}  // namespace

/// A site's file, sinfo's lines, a time and a size, apart by NUL.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  const std::vector<std::string> texts = fuzz::files_in(fuzz::text_of(data, size), 4);
  std::optional<int64_t> seconds;
  if (read_slurm_time(texts[2], seconds)) fuzz::hold(seconds.value_or(1) > 0, "a time is one", texts[2]);
  fuzz::hold(read_slurm_memory(texts[3]).value_or(0) >= 0, "a size is one", texts[3]);
  const std::vector<SlurmPartition> partitions = read_partitions(texts[1]);
  for (const SlurmPartition& partition : partitions)
    fuzz::hold(partition.nodes >= 0 && partition.cpus >= 0 && partition.memory >= 0 && partition.gpus >= 0,
               "a partition has nodes, or none", partition.name);
  fuzz::accepted([&] {
    const Submission wanted = settings_of(scratch, texts[0]);
    Problems problems;
    check_submission(
        wanted, partitions, [](const std::string& key) { return "cluster." + key; }, problems);
    problems.throw_if_any();
  });
  return 0;
}
