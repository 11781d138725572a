#include "weights/tensor_store.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "weights/mapped_file.h"
#include "weights/model_files.h"
#include "weights/safetensors_header.h"
#include "weights/words.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxProblems = 100;  // lines of one message

struct Contents {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// `shown` is the path that messages name; `path` the real one behind it.
Contents read_safetensors(const fs::path& path, const fs::path& shown) {
  const auto file = MappedFile::open(path);
  const std::string where = shown.string();
  constexpr uint64_t kLengthBytes = 8;
  if (file->size() < kLengthBytes) {
    fail(where, " has ", file->size(),
         " bytes and is no safetensors file: those begin with 8 bytes of header length");
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i)
    length |= std::to_integer<uint64_t>(file->data()[i]) << (8 * i);
  const uint64_t rest = file->size() - kLengthBytes;
  if (length > kMaxSafetensorsHeader) {
    fail(where, ": a header of ", length, " bytes, more than the ", kMaxSafetensorsHeader,
         " that the format allows: this is no safetensors file");
  }
  if (length > rest) {
    fail(where, ": the header should have ", length, " bytes, only ", rest, " follow: the file is cut short");
  }
  const uint64_t data_bytes = rest - length;
  SafetensorsHeader header = parse_safetensors_header(file->bytes(kLengthBytes, length), data_bytes, where);
  Contents contents;
  contents.metadata = std::move(header.metadata);
  const std::byte* const data = file->data() + kLengthBytes + length;
  for (auto& [name, tensor] : header.tensors) {
    contents.tensors.emplace_hint(contents.tensors.end(), name,
                                  StoredTensor{tensor.dtype, std::move(tensor.shape), data + tensor.begin,
                                               static_cast<size_t>(tensor.end - tensor.begin), file});
  }
  return contents;
}

/// What a folder without weights holds instead, for the message.
std::string other_weights(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    for (const char* end : {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".msgpack", ".h5"}) {
      if (name.ends_with(end) && names.size() < 5) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names.empty() ? "" : "; there is " + join(names, ", ") + ": convert or rename it";
}

/// Moves a shard's tensors into `tensors`; the index and the shard must agree on which they are.
void merge_shard(const WeightFiles& weights, const fs::path& path, Contents& contents,
                 std::map<std::string, StoredTensor>& tensors, Problems& problems) {
  const std::string shard = path.filename().string();
  const std::string index = weights.index.string();
  std::vector<std::string> wrong;
  for (auto& [name, tensor] : contents.tensors) {
    const auto named = weights.shard_of.find(name);
    if (named == weights.shard_of.end()) {
      wrong.push_back(str("tensor ", quote_name(name), " is not named by ", index));
    } else if (named->second != shard) {
      wrong.push_back(
          str("tensor ", quote_name(name), " should be in ", quote_name(named->second), " by ", index));
    } else {
      tensors.emplace(name, std::move(tensor));
    }
    if (wrong.size() > kMaxProblems) break;
  }
  for (const auto& [name, file] : weights.shard_of) {
    if (wrong.size() > kMaxProblems) break;
    if (file == shard && contents.tensors.count(name) == 0) {
      wrong.push_back(str("holds no tensor ", quote_name(name), ", which ", index, " says is there"));
    }
  }
  for (const auto& line : wrong)
    problems.add(path.string(), ": ", line);
}

}  // namespace

TensorStore TensorStore::open_file(const fs::path& path) {
  TensorStore store;
  Contents contents = read_safetensors(path, path);
  store.tensors_ = std::move(contents.tensors);
  store.metadata_ = std::move(contents.metadata);
  store.files_.push_back(path);
  return store;
}

TensorStore TensorStore::open_folder(const fs::path& folder, const fs::path& root) {
  const fs::path& bound = root.empty() ? folder : root;
  folder_inside(folder, bound);
  const auto found = find_weight_files(folder, bound);
  if (!found) {
    fail(folder.string(),
         " holds no weights: needs diffusion_pytorch_model.safetensors or model.safetensors, ",
         "or its shards with .safetensors.index.json", other_weights(folder));
  }
  TensorStore store;
  store.files_ = found->files;
  Problems problems;
  for (const auto& path : found->files) {
    try {
      Contents contents = read_safetensors(file_inside(path, bound), path);
      if (found->index.empty()) {
        store.metadata_ = std::move(contents.metadata);
        store.tensors_ = std::move(contents.tensors);
      } else {
        merge_shard(*found, path, contents, store.tensors_, problems);
      }
    } catch (const UserError& error) {
      for (const auto& line : error.problems())
        problems.add(line);
    }
    if (problems.list().size() > kMaxProblems) break;
  }
  problems.throw_if_any();
  return store;
}

const StoredTensor* TensorStore::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

at::Tensor as_tensor(const StoredTensor& stored) {
  const auto options = at::TensorOptions().dtype(stored.dtype);
  if (stored.bytes == 0) return at::empty(stored.shape, options);
  if (stored.dtype == at::kBool) {
    // Any other byte in a C++ bool is undefined behaviour.
    const auto* first = reinterpret_cast<const unsigned char*>(stored.data);
    if (std::any_of(first, first + stored.bytes, [](unsigned char byte) { return byte > 1; })) {
      fail(stored.file->path().string(), ": a BOOL tensor of shape ", shape_text(stored.shape),
           " has bytes other than 0 and 1");
    }
  }
  const size_t element = c10::elementSize(stored.dtype);
  if (reinterpret_cast<uintptr_t>(stored.data) % element != 0) {
    at::Tensor copy = at::empty(stored.shape, options);
    std::memcpy(copy.mutable_data_ptr(), stored.data, stored.bytes);
    return copy;
  }
  return at::from_blob(
      const_cast<std::byte*>(stored.data), stored.shape, [file = stored.file](void*) {}, options);
}

}  // namespace rushes
