#pragma once
// A closed HDF5 file of samples of one bucket, each part an array over the samples: `latents` [samples,
// channels, frames, rows, columns] and so on (sample.h), `id`, `caption`, `settings`, `provenance` texts
// [samples], `video` bytes of any number [samples]. A shard is written once, whole, by one process.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "datasets/sample.h"

namespace rushes {

struct ShardOptions {
  int compression =
      0;  // zlib's level, 0 (none) to 9, of arrays of numbers; shuffled first where they are wide
};

/// Writes what lies in `samples`, files of write_sample, of one bucket; fsynced. Throws UserError (a full
/// disk, a sample of another bucket); what is there then is not whole.
void write_shard(const std::filesystem::path& path, const std::vector<std::filesystem::path>& samples,
                 const ShardOptions& options);

/// One array of a shard.
struct ShardPart {
  std::string name;
  std::string type;            // "float32", "uint8", "text", "bytes"
  std::vector<int64_t> shape;  // the samples first
  int64_t stored_bytes = 0;    // in the file, compressed; of texts and bytes what refers to them
};

class Shard {
 public:
  /// Throws UserError for anything that write_shard did not write.
  explicit Shard(const std::filesystem::path& path);
  ~Shard();
  Shard(Shard&&) noexcept;

  int64_t count() const;
  const std::string& bucket() const;
  std::string id(int64_t row) const;
  std::vector<ShardPart> parts() const;
  Sample read(int64_t row) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Rows of one shard that belong to a set, in order.
struct ShardRows {
  std::string file;  // relative to the set's file
  std::vector<int64_t> rows;
};

/// Writes one file in which the shards' rows lie as single arrays: a group for each bucket, of virtual data
/// sets (HDF5 1.10) that refer to the shards beside it. Where there is one bucket its arrays stand at the top
/// as well.
void write_virtual_set(const std::filesystem::path& path, const std::filesystem::path& root,
                       const std::vector<ShardRows>& shards);

}  // namespace rushes
