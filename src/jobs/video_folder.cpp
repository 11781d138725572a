#include "jobs/video_folder.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/lower.h"
#include "config/csv.h"
#include "config/file_names.h"
#include "config/value.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostCaptionBytes = uint64_t{16} << 20;
constexpr uint64_t kMostListBytes = uint64_t{1} << 30;
const std::vector<std::string> kCaptionKeys = {"text", "caption", "prompt"};

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

std::string text_of(const fs::path& path, uint64_t most) {
  const std::string text = read_file(path, most);
  check_utf8(text, path.string());
  return std::string(without_bom(text));
}

/// The captions that the folder's lists give, by file name, each with the place where it stands.
class Captions {
 public:
  Captions(const fs::path& folder, Problems& problems) : problems_(problems) {
    using Reader = void (Captions::*)(const fs::path&);
    for (const auto& [name, read] : {std::pair<const char*, Reader>{"metadata.jsonl", &Captions::read_jsonl},
                                     {"metadata.csv", &Captions::read_csv},
                                     {"videos2caption.json", &Captions::read_json}}) {
      std::error_code error;
      if (!fs::exists(folder / name, error)) continue;
      try {
        (this->*read)(folder / name);
      } catch (const UserError& wrong) {
        for (const std::string& problem : wrong.problems())
          problems_.add(problem);
      }
    }
  }

  /// "" where there is none.
  std::string take(const std::string& video) {
    const auto found = by_video_.find(video);
    if (found == by_video_.end()) return "";
    found->second.used = true;
    return found->second.caption;
  }

  /// After the last video: captions that are of none.
  void note_unused(const fs::path& folder) {
    for (const auto& [video, entry] : by_video_) {
      if (!entry.used) problems_.add(entry.where, ": there is no video ", (folder / video).string());
    }
  }

 private:
  struct Entry {
    std::string caption, where;
    bool used = false;
  };

  void add(const std::string& video, const std::string& caption, const std::string& where) {
    if (video.empty()) return problems_.add(where, ": no file_name in this line");
    const std::string text = trimmed(caption);
    if (text.empty())
      return problems_.add(where, ": no caption in this line; it needs ", join(kCaptionKeys, " or "));
    const auto [entry, is_new] =
        by_video_.try_emplace(fs::path(video).lexically_normal().generic_string(), Entry{text, where});
    if (!is_new && entry->second.caption != text)
      problems_.add(where, ": ", video, " has another caption in ", entry->second.where);
  }

  void read_jsonl(const fs::path& path) {
    const std::string text = text_of(path, kMostListBytes);
    int64_t number = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = trimmed(text.substr(at, end - at));
      at = end + 1;
      const std::string where = str(path.string(), ":", ++number);
      if (line.empty()) continue;
      try {
        const nlohmann::json row = parse_json(line, where);
        if (!row.is_object()) fail(where, ": must be an object like {\"file_name\": ..., \"text\": ...}");
        std::string caption;
        for (const std::string& key : kCaptionKeys) {
          if (caption.empty()) caption = string_at(row, key);
        }
        add(string_at(row, "file_name"), caption, where);
      } catch (const UserError& error) {
        problems_.add(error.what());
      }
    }
  }

  void read_csv(const fs::path& path) {
    const std::vector<CsvRow> table = parse_csv(text_of(path, kMostListBytes), path.string(), problems_);
    if (table.empty()) return;
    const std::vector<std::string>& header = table.front().cells;
    const auto column = [&](const std::string& key) {
      return static_cast<size_t>(std::find(header.begin(), header.end(), key) - header.begin());
    };
    const size_t name = column("file_name");
    size_t text = header.size();
    for (const std::string& key : kCaptionKeys)
      text = text < header.size() ? text : column(key);
    if (name == header.size() || text == header.size())
      fail(path.string(), ":", table.front().line, ": the header needs file_name and ",
           join(kCaptionKeys, " or "), "; it has ", join(header, ", "));
    for (size_t row = 1; row < table.size(); ++row) {
      const std::vector<std::string>& cells = table[row].cells;
      const std::string where = str(path.string(), ":", table[row].line);
      if (cells.size() != header.size()) {
        problems_.add(where, ": ", cells.size(), " cells; the header has ", header.size());
      } else {
        add(cells[name], cells[text], where);
      }
    }
  }

  /// A list of {path, cap}, where cap is a text or a list whose first text counts.
  void read_json(const fs::path& path) {
    const nlohmann::json list = parse_json(text_of(path, kMostListBytes), path.string());
    if (!list.is_array()) fail(path.string(), ": must be a list of {\"path\": ..., \"cap\": ...}");
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string where = str(path.string(), "[", i, "]");
      if (!list[i].is_object()) {
        problems_.add(where, ": must be an object like {\"path\": ..., \"cap\": ...}");
        continue;
      }
      std::string caption = string_at(list[i], "cap");
      const auto cap = list[i].find("cap");
      if (cap != list[i].end() && cap->is_array() && !cap->empty() && cap->front().is_string())
        caption = cap->front().get<std::string>();
      // Beside the list, or below videos/ as in FastVideo's data sets.
      const std::string file = string_at(list[i], "path");
      std::error_code error;
      const bool below = !fs::exists(path.parent_path() / file, error) &&
                         fs::exists(path.parent_path() / "videos" / file, error);
      add(below ? str("videos/", file) : file, caption, where);
    }
  }

  static std::string string_at(const nlohmann::json& row, const std::string& key) {
    const auto found = row.find(key);
    return found != row.end() && found->is_string() ? found->get<std::string>() : "";
  }

  Problems& problems_;
  std::map<std::string, Entry> by_video_;
};

bool is_video(const fs::path& path) {
  static const std::set<std::string> endings = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"};
  return endings.count(lower(path.extension().string())) > 0;
}

/// Their names below the folder, sorted. Links to folders are not followed.
std::vector<std::string> videos_below(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error);
  if (error) fail("cannot read the folder ", folder.string(), ": ", error.message());
  for (; at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (error) fail("cannot read below ", folder.string(), ": ", error.message());
    const bool hidden = at->path().filename().string().starts_with('.');
    if (hidden) at.disable_recursion_pending();
    if (!hidden && is_video(at->path()) && at->is_regular_file(error))
      names.push_back(at->path().lexically_relative(folder).generic_string());
  }
  if (error) fail("cannot read below ", folder.string(), ": ", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

/// Of the name alone, whatever else comes to lie in the folder: "clip.mp4" -> "clip", and where that does not
/// say everything with a hash: "a/b c.mp4" -> "a-b_c-1a2b3c4d", as "clip.avi". "" where none can be made.
std::string id_of(const std::string& name) {
  const std::string stem = fs::path(name).replace_extension().generic_string();
  std::string id = stem;
  for (char& c : id) {
    if (c == '/') c = '-';
    if (!id_problem(std::string(1, c)).empty() && c != '.') c = '_';
  }
  if (id != stem || fs::path(name).extension() != ".mp4") id = str(id, "-", hash_bytes(name).substr(0, 8));
  return id_problem(id).empty() ? id : "";
}

}  // namespace

std::vector<CaptionedVideo> videos_of_folder(const fs::path& folder, Problems& problems) {
  const std::vector<std::string> names = videos_below(folder);
  if (names.empty()) fail(folder.string(), ": no videos (mp4, m4v, mov, mkv, webm, avi) in this folder");
  Captions captions(folder, problems);
  std::set<std::string> ids;
  std::vector<CaptionedVideo> videos;
  for (const std::string& name : names) {
    CaptionedVideo video{(folder / name).string(), captions.take(name), id_of(name)};
    if (!is_utf8(name)) {
      problems.add(folder.string(), ": the name of a video is not UTF-8; rename it: ", shortened(name, 100));
      continue;
    }
    const fs::path beside = (folder / name).replace_extension(".txt");
    std::error_code error;
    try {
      if (video.caption.empty() && fs::exists(beside, error))
        video.caption = trimmed(text_of(beside, kMostCaptionBytes));
    } catch (const UserError& wrong) {
      problems.add(wrong.what());
      continue;
    }
    if (video.caption.empty()) {
      problems.add(video.video, ": has no caption; write one to ", beside.filename().string(),
                   " beside it, or to metadata.jsonl");
      continue;
    }
    if (!ids.insert(video.id).second) video.id.clear();
    videos.push_back(std::move(video));
  }
  captions.note_unused(folder);
  return videos;
}

}  // namespace rushes
