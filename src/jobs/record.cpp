#include "jobs/record.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "base/file.h"
#include "base/quote.h"
#include "config/file_names.h"
#include "config/value.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMostRecordBytes = uint64_t{64} << 20;

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 120) text = text.substr(0, 117) + "...";
  return text;
}

const json& member(const json& object, const char* key, json::value_t type) {
  const auto at = object.find(key);
  if (at == object.end()) fail("no \"", key, "\"");
  const bool integer = type == json::value_t::number_integer && at->is_number_integer();
  if (!integer && at->type() != type) fail("\"", key, "\" is ", at->type_name());
  return *at;
}

FileEntry entry_from(const json& value) {
  if (!value.is_object()) fail("a file is no object");
  FileEntry entry;
  entry.kind = member(value, "kind", json::value_t::string).get<std::string>();
  entry.path = member(value, "path", json::value_t::string).get<std::string>();
  const int64_t bytes = member(value, "bytes", json::value_t::number_integer).get<int64_t>();
  entry.mtime_ns = member(value, "mtime_ns", json::value_t::number_integer).get<int64_t>();
  entry.hash = member(value, "hash", json::value_t::string).get<std::string>();
  if (const std::string problem = inner_path_problem(entry.path); !problem.empty()) fail(problem);
  if (bytes < 0) fail("a file has ", bytes, " bytes");
  entry.bytes = static_cast<uint64_t>(bytes);
  return entry;
}

ItemRecord parse_record(const json& object) {
  if (!object.is_object()) fail("no JSON object");
  ItemRecord record;
  const std::string status = member(object, "status", json::value_t::string).get<std::string>();
  if (status != "done" && status != "failed") fail("\"status\" is ", shown(status));
  record.done = status == "done";
  record.id = member(object, "id", json::value_t::string).get<std::string>();
  record.request_hash = member(object, "request_hash", json::value_t::string).get<std::string>();
  record.request = member(object, "request", json::value_t::object);
  record.run = member(object, "run", json::value_t::string).get<std::string>();
  record.attempts = member(object, "attempts", json::value_t::number_integer).get<int64_t>();
  if (record.attempts < 0) fail("\"attempts\" is ", record.attempts);
  if (!record.done) record.error = member(object, "error", json::value_t::string).get<std::string>();
  for (const json& file : member(object, "files", json::value_t::array))
    record.files.push_back(entry_from(file));
  static const std::set<std::string> own = {"status", "id",       "request_hash", "request",
                                            "run",    "attempts", "error",        "files"};
  record.more = json::object();
  for (const auto& [key, value] : object.items()) {
    if (own.count(key) == 0) record.more[key] = value;
  }
  return record;
}

int64_t mtime_ns(const struct stat& info) {
  return static_cast<int64_t>(info.st_mtim.tv_sec) * 1000000000 + info.st_mtim.tv_nsec;
}

}  // namespace

std::string to_text(const ItemRecord& record) {
  nlohmann::ordered_json out;
  out["status"] = record.done ? "done" : "failed";
  out["id"] = record.id;
  if (!record.done) out["error"] = record.error;
  out["attempts"] = record.attempts;
  out["run"] = record.run;
  out["request_hash"] = record.request_hash;
  out["request"] = record.request;
  out["files"] = nlohmann::ordered_json::array();
  for (const FileEntry& file : record.files) {
    out["files"].push_back({{"kind", file.kind},
                            {"path", file.path},
                            {"bytes", file.bytes},
                            {"mtime_ns", file.mtime_ns},
                            {"hash", file.hash}});
  }
  if (record.more.is_object()) {
    for (const auto& [key, value] : record.more.items())
      out[key] = value;
  }
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

ItemRecord record_from(const std::string& text, const std::string& where) {
  const json object = parse_json(text, where);
  try {
    return parse_record(object);
  } catch (const UserError& error) {
    fail(where, ": ", error.what());
  } catch (const json::exception& error) {
    fail(where, ": ", json_problem(error));
  }
}

std::optional<ItemRecord> read_record(const fs::path& path, std::vector<std::string>& warnings) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return std::nullopt;
  try {
    ItemRecord record = record_from(read_file(path, kMostRecordBytes), path.string());
    if (record.id != path.stem().string())
      fail(path.string(), ": it is the record of ", quote_name(record.id));
    return record;
  } catch (const UserError& problem) {
    if (!fs::exists(fs::symlink_status(path, error))) return std::nullopt;  // taken away meanwhile
    warnings.push_back(str("the record cannot be used, so its item counts as not made: ", problem.what()));
    return std::nullopt;
  }
}

FileEntry file_entry(const fs::path& root, const std::string& kind, const std::string& path) {
  struct stat info {};
  if (::stat((root / path).c_str(), &info) != 0) {
    fail("cannot read ", (root / path).string(), ": ", std::strerror(errno));
  }
  return {kind, path, static_cast<uint64_t>(info.st_size), mtime_ns(info), hash_file(root / path)};
}

std::string FileHashes::hash(const fs::path& path, uint64_t bytes, int64_t mtime_ns) {
  const std::lock_guard guard(mutex_);
  const auto found = known_.find(path);
  if (found != known_.end() && found->second.bytes == bytes && found->second.mtime_ns == mtime_ns)
    return found->second.hash;
  Known known{bytes, mtime_ns, hash_file(path)};
  return known_.insert_or_assign(path, std::move(known)).first->second.hash;
}

std::string files_differ(const ItemRecord& record, const fs::path& root, bool verify, FileHashes& hashes) {
  for (const FileEntry& file : record.files) {
    struct stat info {};
    if (::stat((root / file.path).c_str(), &info) != 0) return str(file.path, ": ", std::strerror(errno));
    if (!S_ISREG(info.st_mode)) return file.path + " is no file";
    if (static_cast<uint64_t>(info.st_size) != file.bytes) {
      return str(file.path, " has ", info.st_size, " bytes, ", file.bytes, " are recorded");
    }
    if (!verify && mtime_ns(info) == file.mtime_ns) continue;
    try {
      if (hashes.hash(root / file.path, file.bytes, mtime_ns(info)) != file.hash)
        return file.path + " has other bytes than recorded";
    } catch (const UserError& error) {
      return error.what();
    }
  }
  return {};
}

std::string files_differ(const ItemRecord& record, const fs::path& root, bool verify) {
  FileHashes hashes;
  return files_differ(record, root, verify, hashes);
}

}  // namespace rushes
