#include "jobs/embedding_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "jobs/owner.h"
#include "weights/tensor_store.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
constexpr size_t kRecent = 4;  // the negative prompt's, above all

/// The owner's token in ".<key>.<token>.tmp.safetensors", or "".
std::string owner_in(const std::string& name) {
  const size_t end = name.rfind(".tmp");
  if (name.empty() || name[0] != '.' || end == std::string::npos) return {};
  size_t begin = end;
  for (int dots = 0; dots < 3 && begin != std::string::npos && begin > 0; ++dots)
    begin = name.rfind('.', begin - 1);
  return begin == std::string::npos ? std::string() : name.substr(begin + 1, end - begin - 1);
}

/// Over all that must be right: an embedding of another prompt or a flipped bit would make a wrong video.
std::string seal(const std::string& key, const at::Tensor& value) {
  const std::string what =
      str(key, "|", at::toString(value.scalar_type()), "|", join(value.sizes().vec(), "x"), "|");
  const std::string_view bytes(static_cast<const char*>(value.const_data_ptr()), value.nbytes());
  return hash_bytes(what + hash_bytes(bytes));
}

}  // namespace

uint64_t sweep_embeddings(const fs::path& folder) {
  OwnerWatch watch(folder);
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    const std::string owner = owner_in(at->path().filename().string());
    if (!owner.empty() && watch.is_local(owner) && watch.is_dead(owner)) {
      fs::remove(at->path(), ignored);
      continue;
    }
    const uintmax_t size = fs::file_size(at->path(), ignored);
    if (!ignored) bytes += size;
  }
  return bytes;
}

DiskEmbeddingStore::DiskEmbeddingStore(fs::path folder, std::string token, uint64_t most_bytes)
    : folder_(std::move(folder)), token_(std::move(token)), most_bytes_(most_bytes) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error)
    fail("cannot make the folder of text embeddings ", folder_.string(), ": ", error.message(),
         "; RUSHES_CACHE gives another place");
  if (::access(folder_.c_str(), R_OK | W_OK | X_OK) != 0) {
    fail("cannot write into the folder of text embeddings ", folder_.string(), ": ", std::strerror(errno),
         "; RUSHES_CACHE gives another place");
  }
  bytes_ = sweep_embeddings(folder_);
}

std::optional<at::Tensor> DiskEmbeddingStore::get(const std::string& key) {
  const auto known =
      std::find_if(recent_.begin(), recent_.end(), [&](const auto& e) { return e.first == key; });
  if (known != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, known);
    return recent_.front().second;
  }
  std::error_code ignored;
  if (!fs::exists(path(key), ignored)) return std::nullopt;
  try {
    const TensorStore file = TensorStore::open_file(path(key));
    const StoredTensor* stored = file.find("embedding");
    if (stored == nullptr || file.tensors().size() != 1) fail(path(key).string(), " holds no embedding");
    at::Tensor value = as_tensor(*stored).clone();
    const auto sealed = file.metadata().find("seal");
    if (sealed == file.metadata().end() || sealed->second != seal(key, value))
      fail(path(key).string(), " is not as it was written (its checksum differs)");
    remember(key, value);
    return value;
  } catch (const UserError& error) {
    log_warning("a stored text embedding cannot be used and is made again: ", error.what());
    fs::remove(path(key), ignored);
    return std::nullopt;
  }
}

void DiskEmbeddingStore::put(const std::string& key, const at::Tensor& value) {
  remember(key, value);
  if (bytes_ + value.nbytes() > most_bytes_) return;
  try {
    const at::Tensor plain = value.to(at::kCPU).contiguous();
    write_safetensors(path(key), {{"embedding", plain}}, {{"seal", seal(key, plain)}}, token_);
    bytes_ += value.nbytes();
  } catch (const UserError& error) {
    if (!warned_) log_warning("text embeddings are not kept on disk: ", error.what());
    warned_ = true;
  }
}

void DiskEmbeddingStore::remember(const std::string& key, const at::Tensor& value) {
  recent_.emplace_front(key, value);
  if (recent_.size() > kRecent) recent_.pop_back();
}

}  // namespace rushes
