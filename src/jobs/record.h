#pragma once
// items/<id>.json: what became of an item. A record is the only proof that an item is done: it is written
// last, when its files are whole, and taken away first when they are about to be replaced.

#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace rushes {

struct FileEntry {
  std::string kind;  // "video", "latents", "frames"
  std::string path;  // relative to the output folder
  uint64_t bytes = 0;
  int64_t mtime_ns = 0;  // where it and the size still agree the bytes are taken to be the same
  std::string hash;      // XXH3-128
};

struct ItemRecord {
  bool done = false;  // else failed
  std::string id;
  std::string request_hash;
  nlohmann::json request;  // what the hash covers, key by key
  std::string run;         // the run that made or last tried it
  int64_t attempts = 0;    // tries so far, the successful one counted
  std::string error;       // of a failed item
  std::vector<FileEntry> files;
  nlohmann::json more;  // for people: prompt, settings, versions, layout, timings, warnings, ...
};

std::string to_text(const ItemRecord& record);
/// Reads what to_text wrote. Throws UserError (`where` and what is wrong) for anything else, however hostile.
ItemRecord record_from(const std::string& text, const std::string& where);

/// The record of an item; nothing where there is none. A broken one is noted in `warnings` and counts as
/// none.
std::optional<ItemRecord> read_record(const std::filesystem::path& path, std::vector<std::string>& warnings);

/// The entry of a file as it is now (size, time, and the hash of its bytes). Throws UserError.
FileEntry file_entry(const std::filesystem::path& root, const std::string& kind, const std::string& path);

/// Hashes of files as they were when first asked for; a file that has another size or time is read again. For
/// files that many records name: the shards of a data set. Any number of threads.
class FileHashes {
 public:
  /// Throws UserError where it cannot be read.
  std::string hash(const std::filesystem::path& path, uint64_t bytes, int64_t mtime_ns);

 private:
  struct Known {
    uint64_t bytes;
    int64_t mtime_ns;
    std::string hash;
  };
  std::mutex mutex_;
  std::map<std::filesystem::path, Known> known_;
};

/// What of the record's files is not as recorded: "" where all is well. Sizes always; bytes where the time
/// differs, or `verify` is set.
std::string files_differ(const ItemRecord& record, const std::filesystem::path& root, bool verify,
                         FileHashes& hashes);
std::string files_differ(const ItemRecord& record, const std::filesystem::path& root, bool verify);

}  // namespace rushes
