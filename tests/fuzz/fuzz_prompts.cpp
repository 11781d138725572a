// Prompt lines. First byte: txt, csv, jsonl, yaml, or a list in the job file. Rows that are taken, written as
// JSON lines, are read again with the same prompts, ids and settings.

#include "config/job_file.h"
#include "config/yaml/yaml.h"
#include "fuzz.h"
#include "jobs/prompts.h"

using namespace rushes;

namespace {

const char* const kNames[] = {"p.txt", "p.csv", "p.jsonl", "p.yaml"};

/// The row as a line of JSON, its settings as its fields understood them.
nlohmann::json line_of(const PromptRow& row) {
  nlohmann::json line = {{"prompt", row.prompt}};
  if (row.id) line["id"] = *row.id;
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading("row", problems, sources);
  Sampling sampling;
  for (const Entry& entry : row.settings) {
    const Field<Sampling>* field = find_field(sampling_fields(), entry.key);
    fuzz::hold(field != nullptr, "a setting of a row is known");
    field->read(sampling, entry.value, entry.key, reading);
    line[entry.key] = field->get(sampling);
  }
  fuzz::hold(problems.empty(), "a setting of a row is readable");
  return line;
}

std::string lines_of(const std::vector<PromptRow>& rows) {
  std::string lines;
  for (const PromptRow& row : rows)
    lines += line_of(row).dump() + "\n";
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  static const PromptRules rules{field_keys(sampling_fields()), "WanPipeline"};
  std::string text = fuzz::text_of(data, size);
  const size_t format = fuzz::choice(text, 5);
  Problems problems;
  std::vector<PromptRow> rows;
  const bool read = fuzz::accepted([&] {
    const Value prompts = format == 4 ? parse_yaml(text, "job.yaml")
                                      : text_value(scratch.write(kNames[format], text).string(), 1);
    rows = read_prompts(prompts, "job.yaml", rules, problems);
  });
  if (!read || rows.empty()) return 0;
  const std::string lines = lines_of(rows);
  Problems wrong;
  const std::vector<PromptRow> again =
      read_prompts(text_value(scratch.write("again.jsonl", lines).string(), 1), "job.yaml", rules, wrong);
  fuzz::hold(wrong.empty() && again.size() == rows.size() && lines_of(again) == lines,
             "prompt rows survive being written as JSON lines");
  return 0;
}
