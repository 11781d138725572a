#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "weights/tensor_store.h"
#include "weights/words.h"

namespace rushes {
namespace {

using Entry = std::pair<std::string, at::Tensor>;

/// Wider types first, as safetensors itself writes them, so that every tensor lies aligned; then by name.
std::vector<Entry> file_order(const std::map<std::string, at::Tensor>& tensors) {
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : tensors) {
    RUSHES_CHECK(name != "__metadata__", name);
    RUSHES_CHECK(tensor.defined() && !safetensors_dtype(tensor.scalar_type()).empty(), "tensor ", name);
    entries.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.second.element_size() > b.second.element_size();
  });
  return entries;
}

std::string header_text(const std::vector<Entry>& entries,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t begin = 0;
  for (const auto& [name, tensor] : entries) {
    const size_t end = begin + tensor.nbytes();
    header[name] = {{"dtype", safetensors_dtype(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

void put(std::FILE* file, const void* data, size_t count, const std::filesystem::path& path) {
  if (count > 0 && std::fwrite(data, 1, count, file) != count) {
    fail("cannot write ", path.string(), ": ", std::strerror(errno));
  }
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata, const std::string& owner) {
  const std::vector<Entry> entries = file_order(tensors);
  const std::string header = header_text(entries, metadata);
  write_path_atomic(path, owner, [&](const std::filesystem::path& beside) {
    struct Close {
      void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, Close> file(std::fopen(beside.c_str(), "wbe"));
    if (!file) fail("cannot write ", path.string(), ": ", std::strerror(errno));
    unsigned char length[8];
    for (size_t i = 0; i < sizeof length; ++i)
      length[i] = static_cast<unsigned char>(header.size() >> (8 * i));
    put(file.get(), length, sizeof length, path);
    put(file.get(), header.data(), header.size(), path);
    for (const auto& [name, tensor] : entries)
      put(file.get(), tensor.nbytes() > 0 ? tensor.const_data_ptr() : nullptr, tensor.nbytes(), path);
    // A full disk may show only when the buffer is flushed, on a network file system only when it is closed.
    if (std::fclose(file.release()) != 0) fail("cannot write ", path.string(), ": ", std::strerror(errno));
  });
}

}  // namespace rushes
