#include "jobs/prompts.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/file.h"
#include "base/lower.h"
#include "config/csv.h"
#include "config/file_names.h"
#include "config/job_file.h"
#include "config/yaml/yaml.h"
#include "jobs/video_folder.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

constexpr uint64_t kMaxPromptBytes = uint64_t{1} << 30;
constexpr size_t kMaxLineBytes = size_t{24} << 20;  // of JSON: a prompt of 10 MB fits, whatever it escapes
constexpr size_t kMaxProblems = 50;

// Words of a prompt line that other pipelines than text-to-video read.
const std::vector<std::string> kInputKeys = {"image", "last_image", "video", "strength", "lora"};

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\v\f") == std::string_view::npos;
}

/// Collects the rows of one document.
class RowReader {
 public:
  /// `beside`: where the relative `video` of a line begins.
  RowReader(std::string document, std::filesystem::path beside, const PromptRules& rules, Problems& problems)
      : document_(std::move(document)),
        beside_(std::move(beside)),
        rules_(rules),
        problems_(problems),
        reading_(document_, problems_, ignored_sources_) {}

  std::vector<PromptRow> take() { return std::move(rows_); }
  const std::string& document() const { return document_; }
  Problems& problems() { return problems_; }
  /// So much is wrong that reading on tells nothing new.
  bool full() const { return problems_.list().size() > kMaxProblems; }

  /// Notes lines that are no UTF-8 text; false: skip this one.
  bool is_text(std::string_view line, int64_t number) {
    if (is_utf8(line)) return true;
    problems_.add(document_, ":", number,
                  line.find('\0') != std::string_view::npos ? ": holds a NUL byte" : ": is not UTF-8",
                  "; save the file as UTF-8 text");
    return false;
  }

  void add_text(std::string prompt, int64_t line) {
    PromptRow row;
    row.prompt = std::move(prompt);
    finish(std::move(row), line);
  }

  /// Of a folder: the video itself is the place.
  void add_video(CaptionedVideo video) {
    PromptRow row;
    row.prompt = std::move(video.caption);
    if (!video.id.empty()) row.id = std::move(video.id);
    row.document = document_;
    row.where = video.video;
    row.video = std::move(video.video);
    rows_.push_back(std::move(row));
  }

  /// A text or a mapping.
  void add(const Value& value) {
    if (value.kind == Value::Kind::text) {
      if (const auto prompt = read_text(value, "prompt", reading_)) add_text(*prompt, value.line);
      return;
    }
    if (value.kind != Value::Kind::mapping) {
      reading_.wrong(value, "", "a prompt in quotes or a mapping like {prompt: ...}");
      return;
    }
    const size_t before = problems_.list().size();
    PromptRow row;
    bool has_prompt = false;
    for (const Entry& entry : value.entries) {
      if (entry.key == "prompt") {
        has_prompt = true;
        row.prompt = read_text(entry.value, "prompt", reading_).value_or("");
      } else if (entry.key == "id") {
        row.id = read_id(entry.value);
      } else if (entry.key == "min_ssim") {
        row.min_ssim =
            read_number(entry.value, {0, 1}, allowed_text(NumberRange{0, 1}), "min_ssim", reading_);
      } else if (entry.key == "video" && rules_.videos) {
        const std::string file = read_text(entry.value, "video", reading_).value_or("");
        if (!file.empty()) row.video = (beside_ / file).string();
      } else {
        add_setting(entry, row);
      }
    }
    if (!has_prompt) reading_.problem(value.line, "", "no prompt in this line; add the key 'prompt'");
    if (problems_.list().size() == before) finish(std::move(row), value.line);
  }

 private:
  std::optional<std::string> read_id(const Value& value) {
    const auto id = read_text(value, "id", reading_);
    if (!id) return std::nullopt;
    const std::string problem = id_problem(*id);
    if (!problem.empty()) reading_.problem(value.line, "id", problem);
    return id;
  }

  void add_setting(const Entry& entry, PromptRow& row) {
    const Field<Sampling>* field = find_field(sampling_fields(), entry.key);
    if (field && contains(rules_.sampling_keys, entry.key)) {
      Sampling scratch;
      field->read(scratch, entry.value, entry.key, reading_);
      row.settings.push_back(entry);
    } else if (field || contains(kInputKeys, entry.key)) {
      reading_.problem(entry.line, entry.key, "no stage of ", rules_.pipeline, " reads this key; remove it");
    } else {
      std::vector<std::string> known = {"prompt", "id", "min_ssim", "video"};
      known.insert(known.end(), rules_.sampling_keys.begin(), rules_.sampling_keys.end());
      unknown_key(entry, entry.key, known, reading_);
    }
  }

  void finish(PromptRow row, int64_t line) {
    if (rules_.videos && row.video.empty())
      reading_.problem(line, "", "no video in this line; it needs {prompt: ..., video: a file}");
    row.document = document_;
    row.where = reading_.place(line);
    rows_.push_back(std::move(row));
  }

  std::string document_;
  std::filesystem::path beside_;
  const PromptRules& rules_;
  Problems& problems_;
  std::map<std::string, std::string> ignored_sources_;
  Reading reading_;
  std::vector<PromptRow> rows_;
};

/// Calls `line_done(text, number)` for each line, without its LF, CRLF or CR, until there are problems
/// enough.
template <class LineDone>
void each_line(std::string_view text, const RowReader& rows, LineDone line_done) {
  int64_t number = 1;
  for (size_t start = 0; start < text.size() && !rows.full(); ++number) {
    const size_t end = std::min(text.find_first_of("\r\n", start), text.size());
    line_done(text.substr(start, end - start), number);
    start = end + (text.substr(end, 2) == "\r\n" ? 2 : 1);
  }
}

void read_txt(std::string_view text, RowReader& rows) {
  each_line(text, rows, [&](std::string_view line, int64_t number) {
    if (!is_blank(line) && rows.is_text(line, number)) rows.add_text(std::string(line), number);
  });
}

void read_jsonl(std::string_view text, RowReader& rows) {
  each_line(text, rows, [&](std::string_view line, int64_t number) {
    if (is_blank(line) || !rows.is_text(line, number)) return;
    if (line.size() > kMaxLineBytes)
      return rows.problems().add(rows.document(), ":", number, ": has ", line.size(), " bytes; at most ",
                                 kMaxLineBytes, " are read");
    const std::string where = str(rows.document(), ":", number);
    try {
      const nlohmann::json json = parse_json(std::string(line), where);
      if (!json.is_object()) {
        rows.problems().add(where, ": must be an object like {\"prompt\": \"...\"}; found ",
                            describe(from_json(json, number)));
        return;
      }
      rows.add(from_json(json, number));
    } catch (const UserError& error) {
      // "<where>:1:<column>: ..." counts the lines of what it was given: always the first.
      const std::string inner = where + ":1:";
      for (const std::string& problem : error.problems())
        rows.problems().add(problem.starts_with(inner) ? str(where, ":", problem.substr(inner.size()))
                                                       : problem);
    }
  });
}

void read_csv(std::string_view text, RowReader& rows) {
  const std::string& name = rows.document();
  check_utf8(text, name);
  std::vector<CsvRow> table = parse_csv(text, name, rows.problems());
  if (table.empty()) return;
  std::vector<std::string> header = table.front().cells;
  const int64_t line = table.front().line;
  std::set<std::string> columns;
  for (std::string& key : header) {
    const size_t first = std::min(key.find_first_not_of(' '), key.size());
    key = key.substr(first, key.find_last_not_of(' ') + 1 - first);
    if (key.empty()) {
      rows.problems().add(name, ":", line, ": the header has a column without a name");
      return;
    }
    if (!columns.insert(key).second) {
      rows.problems().add(name, ":", line, ": ", key, ": this column stands twice in the header");
      return;
    }
  }
  if (!contains(header, "prompt")) {
    rows.problems().add(name, ":", line, ": the header has no column 'prompt'; it has ",
                        shortened(join(header, ", "), 200));
    return;
  }
  const auto prompt = static_cast<size_t>(std::find(header.begin(), header.end(), "prompt") - header.begin());
  for (size_t i = 1; i < table.size() && !rows.full(); ++i) {
    const CsvRow& row = table[i];
    if (row.cells.size() != header.size()) {
      rows.problems().add(name, ":", row.line, ": ", row.cells.size(), " cells; the header has ",
                          header.size());
      continue;
    }
    const bool wordless = row.cells[prompt].empty();
    if (wordless) {
      rows.problems().add(name, ":", row.line, ": prompt: the cell is empty; where no words are meant, give ",
                          "{\"prompt\": \"\"} in a .jsonl file");
    }
    Value value;
    value.kind = Value::Kind::mapping;
    value.line = row.line;
    for (size_t column = 0; column < header.size(); ++column) {
      const bool words = column == prompt && wordless;
      if (row.cells[column].empty() && !words) continue;  // not given
      Value cell = words ? text_value("", row.line) : plain_scalar(row.cells[column], row.line);
      cell.quoted = false;
      value.entries.push_back({header[column], row.line, std::move(cell)});
    }
    rows.add(value);
  }
}

void read_list(const Value& list, RowReader& rows) {
  if (list.kind != Value::Kind::list) {
    rows.problems().add(rows.document(), ": must be a list of prompts; found ", describe(list));
    return;
  }
  for (const Value& item : list.items) {
    if (!rows.full()) rows.add(item);
  }
}

void read_prompt_file(const std::string& path, const PromptRules& rules, RowReader& rows) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    if (!rules.videos)
      fail(path,
           ": is a folder; only job: preprocess reads one, of videos. Give a file or a list of prompts");
    for (CaptionedVideo& video : videos_of_folder(path, rows.problems()))
      rows.add_video(std::move(video));
    return;
  }
  const std::string extension = lower(std::filesystem::path(path).extension().string());
  if (extension == ".yaml" || extension == ".yml") return read_list(read_yaml(path), rows);
  if (extension != ".txt" && extension != ".jsonl" && extension != ".csv")
    fail(path, ": the ending says no format of prompts; .txt, .csv, .jsonl and .yaml are read");
  const std::string bytes = read_file(path, kMaxPromptBytes);
  const std::string_view text = without_bom(bytes);
  if (extension == ".txt") return read_txt(text, rows);
  if (extension == ".jsonl") return read_jsonl(text, rows);
  read_csv(text, rows);
}

}  // namespace

std::vector<PromptRow> read_prompts(const Value& prompts, const std::string& job_document,
                                    const PromptRules& rules, Problems& problems) {
  const bool is_path = prompts.kind != Value::Kind::list;
  const std::string document = is_path ? prompts.text : job_document;
  Problems found;
  // In the job file all paths are relative to the working directory; in a prompts file, to that file.
  RowReader rows(document, is_path ? std::filesystem::path(document).parent_path() : "", rules, found);
  try {
    if (is_path) {
      read_prompt_file(document, rules, rows);
    } else {
      read_list(prompts, rows);
    }
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      found.add(problem);
  }
  std::vector<PromptRow> good = rows.take();
  if (good.empty() && found.empty()) found.add(document, ": prompts: there are none; one at least is needed");
  const size_t count = found.list().size();
  for (size_t i = 0; i < std::min(count, kMaxProblems); ++i)
    problems.add(found.list()[i]);
  if (count > kMaxProblems) problems.add(document, ": and more like these; reading stopped there");
  return good;
}

}  // namespace rushes
