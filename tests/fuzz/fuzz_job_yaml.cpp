// Job files. One without a problem is written down as `plan` does, and that file gives the same settings.

#include "config/yaml/yaml.h"
#include "fuzz.h"
#include "jobs/resolution.h"

using namespace rushes;

namespace {

struct ReadJob {
  JobFile job;
  std::map<std::string, std::string> sources;
};

/// Throws UserError with what is wrong.
ReadJob read(const std::string& text) {
  ReadJob result;
  Problems problems;
  Reading reading("job.yaml", problems, result.sources);
  read_job(parse_yaml(text, "job.yaml"), result.job, reading);
  problems.throw_if_any();
  return result;
}

std::string settings(const JobFile& job) {
  return get_fields(job_fields(), job).dump();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text = fuzz::text_of(data, size);
  ReadJob first;
  if (!fuzz::accepted([&] { first = read(text); })) return 0;
  fuzz::accepted([&] {
    Problems problems;
    fill_output(first.job, "jobs/demo.yaml", "2026-11-21", "job.yaml", problems);
  });
  if (first.job.prompts.kind == Value::Kind::nothing) return 0;  // what is missing cannot be written down
  const std::string written = rows_to_yaml(setting_rows(first.job, first.job, first.sources), "Resolved");
  ReadJob again;
  fuzz::hold(fuzz::accepted([&] { again = read(written); }), "a job that was written down is read", written);
  fuzz::hold(settings(again.job) == settings(first.job), "a job survives being written down", written);
  return 0;
}
