#pragma once
// Text embeddings on disk, shared by every process that works on the folder: `<folder>/<key>.safetensors`,
// one tensor "embedding", and in its metadata a hash over key, type, shape and bytes. A cache: any file in it
// may be deleted at any time, one that is not as it was written counts as missing.

#include <filesystem>
#include <list>
#include <string>

#include "pipelines/pipeline.h"

namespace rushes {

/// Removes half-written files that dead processes of this host left in a folder of embeddings; gives the
/// bytes of the files that stay.
uint64_t sweep_embeddings(const std::filesystem::path& folder);

class DiskEmbeddingStore : public EmbeddingStore {
 public:
  /// Makes the folder and sweeps it. `token` goes into temporary names.
  /// Beyond `most_bytes` on disk nothing is added: a data set of 100,000 prompts needs each embedding once,
  /// and 8 MB apiece would fill the disk for nothing. Throws UserError where the folder cannot be made.
  DiskEmbeddingStore(std::filesystem::path folder, std::string token,
                     uint64_t most_bytes = uint64_t{4} << 30);

  std::optional<at::Tensor> get(const std::string& key) override;
  /// Never fails an item: what cannot be stored is only kept in memory, with one warning.
  void put(const std::string& key, const at::Tensor& value) override;

 private:
  void remember(const std::string& key, const at::Tensor& value);
  std::filesystem::path path(const std::string& key) const { return folder_ / (key + ".safetensors"); }

  std::filesystem::path folder_;
  std::string token_;
  uint64_t most_bytes_;
  uint64_t bytes_ = 0;
  bool warned_ = false;
  std::list<std::pair<std::string, at::Tensor>> recent_;  // newest first
};

}  // namespace rushes
