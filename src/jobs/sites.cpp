#include "jobs/sites.h"

#include <algorithm>

#include "base/env.h"
#include "base/file.h"
#include "base/lower.h"
#include "base/nearest.h"
#include "config/file_names.h"
#include "jobs/presets.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMostBytes = 1 << 20;

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// A comment begins at a '#' at the start of a line or behind a space, as in a shell; SETUP's lines are a
/// shell's own.
std::string without_comment(const std::string& text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '#' && (at == 0 || text[at - 1] == ' ' || text[at - 1] == '\t'))
      return trimmed(text.substr(0, at));
  }
  return text;
}

void take_line(const std::string& line, int64_t number, Site& site, Problems& problems) {
  const std::string text = trimmed(line);
  if (text.empty() || text[0] == '#') return;
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return problems.add(site.file, ":", number, ": must be KEY=value; found '", shortened(text, 60), "'");
  const std::string key = lower(trimmed(text.substr(0, equals)));
  std::string value = trimmed(text.substr(equals + 1));
  if (key != "setup") value = without_comment(value);
  const bool quoted =
      value.size() > 1 && (value[0] == '"' || value[0] == '\'') && value.back() == value[0] && key != "setup";
  if (quoted) value = value.substr(1, value.size() - 2);
  for (Entry& known : site.values.entries) {
    if (known.key != key) continue;
    if (key == "setup") known.value.text += "\n" + value;
    if (key != "setup")
      problems.add(site.file, ":", number, ": ", key, " stands in line ", known.line, " already");
    return;
  }
  Value read = key == "setup" ? text_value(value, number) : plain_scalar(value, number);
  read.quoted = false;
  site.values.entries.push_back({key, number, std::move(read)});
}

std::vector<std::string> site_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(slurm_folder() / "sites", error)) {
    if (file.path().extension() == ".env") names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

fs::path slurm_folder() {
  const fs::path folder = configs_folder().parent_path() / "slurm";
  std::error_code error;
  if (!fs::exists(folder / "job.sbatch", error))
    fail("no ", (folder / "job.sbatch").string(),
         ", which submit makes its script from; put the program back into ", "its checkout");
  return folder;
}

Site read_site(const std::string& asked) {
  const std::string named = !asked.empty() ? asked : env(EnvVar::site);
  const std::string name = named.empty() ? "default" : named;
  Site site;
  site.values.kind = Value::Kind::mapping;
  fs::path path = name;
  site.file = name;
  if (name.find('/') == std::string::npos && !name.ends_with(".env")) {
    const std::vector<std::string> known = site_names();
    if (std::find(known.begin(), known.end(), name) == known.end())
      fail("no site '", shortened(name, 60), "' in ", (slurm_folder() / "sites").string(), " (there are ",
           join(known, ", "), ")", did_you_mean(name, known));
    path = slurm_folder() / "sites" / (name + ".env");
    site.file = "slurm/sites/" + name + ".env";
  }
  const std::string text = read_file(path, kMostBytes);
  check_utf8(text, site.file);
  Problems problems;
  int64_t number = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    take_line(text.substr(start, end - start), ++number, site, problems);
    start = end + 1;
  }
  problems.throw_if_any();
  return site;
}

}  // namespace rushes
