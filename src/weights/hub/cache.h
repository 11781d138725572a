#pragma once
// The cache on disk, in the very layout of huggingface_hub 2.4 (docs: "Understand caching"), so that either
// client uses what the other fetched:
//   models--org--name/blobs/<etag>                   contents by sha256 (LFS) or git blob id
//   models--org--name/snapshots/<commit>/<path>      links to ../../blobs/<etag>
//   models--org--name/refs/<revision>                the commit of a branch or tag
//   models--org--name/trees/<commit>.json            what files the commit has
//   .locks/models--org--name/<etag>.lock             flock while a blob is fetched or linked

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "weights/hub/http.h"
#include "weights/hub/model_id.h"

namespace rushes::hub {

/// A file of a commit, as the Hub's tree lists it.
struct TreeFile {
  uint64_t size = 0;
  std::string blob_id;     // git's id: 40 hex digits
  std::string lfs_sha256;  // 64 hex digits; "" for a file that is no LFS file
  std::string xet_hash;    // kept for huggingface_hub

  /// The name of its blob: what its content hashes to.
  const std::string& etag() const { return lfs_sha256.empty() ? blob_id : lfs_sha256; }
};
using Tree = std::map<std::string, TreeFile>;  // by path

/// The cache cannot be written here (a read-only file system, another's folder); what is there may be read.
class Unwritable : public UserError {
 public:
  using UserError::UserError;
};

/// An exclusive flock on a file that is made if need be and stays, as Python's filelock has it.
class FileLock {
 public:
  /// Waits up to `wait_seconds` after the last change of `headway` (asked once a second). Throws UserError at
  /// the end of its patience, Unwritable, StoppedEarly.
  FileLock(const std::filesystem::path& path, double wait_seconds, const Cancel& cancel,
           const std::function<uint64_t()>& headway);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  /// False where the file system has no flock: then nobody is kept out.
  bool held() const { return held_; }
  /// Changes the file's time: a sign to those who wait for it.
  void touch() const;

 private:
  bool try_lock(const std::filesystem::path& path);

  int fd_ = -1;
  bool held_ = false;
};

class Cache {
 public:
  Cache(const Settings& settings, const ModelId& model);

  const std::filesystem::path& folder() const { return folder_; }  // models--org--name
  std::filesystem::path snapshot(const std::string& commit) const;
  std::filesystem::path blob(const std::string& etag) const;
  /// Where a blob is collected. `alone`: a lock keeps others out, so that what a killed process left is
  /// continued; else the name is this process's own.
  std::filesystem::path incomplete(const std::string& etag, bool alone) const;

  /// The commit that `revision` was when it was last asked for.
  std::optional<std::string> ref(const std::string& revision) const;
  void write_ref(const std::string& revision, const std::string& commit) const;
  /// The files of a commit; nothing where that is not known here or cannot be read.
  std::optional<Tree> read_tree(const std::string& commit) const;
  void write_tree(const std::string& commit, const Tree& tree) const;

  /// Is the file there in its right size, by a link to its blob or (made by other programs) itself?
  bool in_place(const std::string& commit, const std::string& path, const TreeFile& file) const {
    return trouble(commit, path, file).empty();
  }
  /// Why it is not in place, as what a file's name goes before: "is missing", "has 0 of 5 bytes"; else "".
  std::string trouble(const std::string& commit, const std::string& path, const TreeFile& file) const;
  bool has_blob(const TreeFile& file) const;
  /// Links the file to its blob, which is there; the blob's lock is held.
  void link(const std::string& commit, const std::string& path, const TreeFile& file) const;

  /// Makes the folders of a commit. Throws Unwritable or another UserError, which say what to do.
  void make_folders(const std::string& commit) const;
  /// The lock of a blob, or of a commit as a whole (huggingface_hub has none of those).
  FileLock lock(const std::string& name, const Cancel& cancel) const;
  /// Bytes that can still be written; the largest number where nobody knows.
  uint64_t free_bytes() const;

 private:
  std::filesystem::path place(const std::string& commit, const std::string& path) const;

  const Settings& settings_;
  std::filesystem::path folder_;
  std::filesystem::path locks_;
};

/// Models in the cache: "org/name", in order.
std::vector<std::string> cached_models(const Settings& settings);

}  // namespace rushes::hub
