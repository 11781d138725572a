#pragma once
// The output folder of a job: where everything lies, the one lock, and files that appear whole.
//
//   videos/ latents/ frames/ items/ logs/   job.yaml events.jsonl failed.jsonl
//   contact-sheet.png metrics.prom
//   .rushes/claims/<id>          symbolic link to the owner's file: who works on the item
//   .rushes/owners/<token>.json  one per live process: heartbeat and progress
//   .rushes/work/<token>/        one per live process: half-written files, on the outputs' own file system
//   .rushes/deaths/<id>.json     items whose process died while it ran them
//   .rushes/embeddings/          text embeddings (a cache; may be deleted)
//   .rushes/checkpoints/         clips that are not through (a cache too)
//   .rushes/fresh.json           a --fresh run that is not through
//   .rushes/front               how far the walk through the items is: a hint
//   .rushes/lock folder.json manifest.json restarts.json

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace rushes {

class OutputFolder {
 public:
  /// Makes the folders that are missing. Throws UserError (path, reason, what to do).
  static OutputFolder create(const std::filesystem::path& root);
  /// The paths of a folder that may not be there yet.
  static OutputFolder view(const std::filesystem::path& root) { return OutputFolder(root); }
  /// For looking only: makes nothing. Throws UserError where `root` is no output folder.
  static OutputFolder open(const std::filesystem::path& root);

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path hidden() const { return root_ / ".rushes"; }
  std::filesystem::path claims() const { return hidden() / "claims"; }
  std::filesystem::path owners() const { return hidden() / "owners"; }
  /// An owner's file; a claim may hold any text, which never leads out of the folder.
  std::filesystem::path owner(const std::string& token) const {
    return owners() / (std::filesystem::path(token).filename().string() + ".json");
  }
  std::filesystem::path work() const { return hidden() / "work"; }
  std::filesystem::path deaths() const { return hidden() / "deaths"; }
  std::filesystem::path embeddings() const { return hidden() / "embeddings"; }
  std::filesystem::path checkpoint(const std::string& id) const {
    return hidden() / "checkpoints" / (id + ".safetensors");
  }
  std::filesystem::path record(const std::string& id) const { return root_ / "items" / (id + ".json"); }
  std::filesystem::path events() const { return root_ / "events.jsonl"; }
  std::filesystem::path failed() const { return root_ / "failed.jsonl"; }
  std::filesystem::path contact_sheet() const { return root_ / "contact-sheet.png"; }
  std::filesystem::path manifest() const { return hidden() / "manifest.json"; }
  std::filesystem::path fresh() const { return hidden() / "fresh.json"; }

  // Paths of an item's outputs, relative to root.
  static std::string video_path(const std::string& id, const std::string& container);
  static std::string latents_path(const std::string& id);
  static std::string frames_path(const std::string& id);
  static std::string frame_name(int64_t index);  // below frames_path: "00007.png"

 private:
  explicit OutputFolder(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path root_;
};

/// Excludes every other holder, on any host that shares the folder; released by the kernel when the process
/// dies. Held for moments only: to free a dead owner's claim, to publish an item. Throws UserError where the
/// file system has no locks.
class FolderLock {
 public:
  explicit FolderLock(const OutputFolder& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

/// A process's own place for half-written files: `.rushes/work/<token>/`, gone at the end.
class WorkPlace {
 public:
  /// Throws UserError where it cannot be made.
  WorkPlace(const OutputFolder& folder, const std::string& token);
  ~WorkPlace();
  WorkPlace(const WorkPlace&) = delete;
  WorkPlace& operator=(const WorkPlace&) = delete;

  std::filesystem::path path(const std::string& name) const { return path_ / name; }
  /// Writes here, fsyncs, renames over `target`, fsyncs target's folder. Throws UserError. Safe to call from
  /// several threads for different targets.
  void write_file(const std::filesystem::path& target, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

/// Makes the folder of `to`, renames, fsyncs the folder. Throws UserError.
void put_in_place(const std::filesystem::path& from, const std::filesystem::path& to);

/// The JSON object in a file of the folder's own; null where there is none or it is no JSON object.
nlohmann::json read_json_object(const std::filesystem::path& path, uint64_t most_bytes = uint64_t{1} << 20);

/// The whole number at `key`, from `low` to `high`. For what is not there or none, throws what nlohmann's
/// at() throws; its get() would make something of any number.
int64_t whole_at(const nlohmann::json& object, const char* key, int64_t low = 0,
                 int64_t high = std::numeric_limits<int64_t>::max());

/// A --fresh run that is not through, and the job it is of; both "" where there is none.
struct FreshRun {
  std::string name;
  std::string digest;
};
FreshRun unfinished_fresh_run(const OutputFolder& folder);

/// Does the message of a failed write speak of the disk (full, read-only, gone, not permitted), or does a try
/// in `folder` show that nothing can be written there now? Then no item is to blame.
bool is_disk_trouble(const std::string& message, const std::filesystem::path& folder);

}  // namespace rushes
