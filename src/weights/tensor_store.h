#pragma once
// The tensors of one component folder: safetensors files mapped into memory, never read whole.
// Format: github.com/huggingface/safetensors (8 bytes little-endian header length N, N bytes of JSON, data).

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace rushes {

class MappedFile;

/// One tensor as it lies in a file; `data` stays valid while `file` lives.
struct StoredTensor {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const MappedFile> file;
};

/// Every file is checked whole when opened: header length and depth, dtype, shape x dtype == bytes, offsets
/// inside the file and without overlap or holes. What is wrong is a UserError naming file, tensor and
/// figures; no input makes it allocate more than a few times the header's own size.
class TensorStore {
 public:
  /// One file.
  static TensorStore open_file(const std::filesystem::path& path);
  /// A component folder: `diffusion_pytorch_model.safetensors` or `model.safetensors`, or the same with
  /// `.safetensors.index.json` beside its shards. An index naming a missing shard or tensor is an error, as
  /// is a shard's tensor that it does not name. No file may lie outside of `root` (default: the folder) by a
  /// symlink; see model_files.h.
  static TensorStore open_folder(const std::filesystem::path& folder, const std::filesystem::path& root = {});

  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find(const std::string& name) const;
  /// `__metadata__` of a single file; empty for shards.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Files read, for messages and hashes.
  const std::vector<std::filesystem::path>& files() const { return files_; }

 private:
  std::map<std::string, StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::filesystem::path> files_;
};

/// The stored tensor as an at::Tensor over the mapping, which it keeps (no copy; read-only: a write into it
/// is a segmentation fault). Copied only where the data is not aligned for its type.
at::Tensor as_tensor(const StoredTensor& stored);

/// Writes tensors (made contiguous, on CPU) as one safetensors file, whole or not at all. Wider types come
/// first and names in sorted order, so that equal tensors give equal bytes and all lie aligned. `owner`: see
/// base/file.h.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata, const std::string& owner);

}  // namespace rushes
