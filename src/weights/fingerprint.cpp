#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "weights/mapped_file.h"
#include "weights/model_dir.h"
#include "weights/model_files.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHashWhole = size_t{64} << 20;  // smaller files are read from end to end
constexpr size_t kBlock = size_t{64} << 10;
constexpr size_t kBlocks = 256;            // of a larger file: 16 MiB read
constexpr size_t kHead = size_t{1} << 20;  // and its start, where the header lies

/// Size and content of a file, or of a sample of it: the start, the end, and blocks evenly spaced between.
std::string file_mark(const fs::path& path) {
  const auto file = MappedFile::open(path);
  const size_t size = file->size();
  if (size <= kHashWhole) return str(size, " ", hash_bytes(file->bytes(0, size)));
  std::string marks = hash_bytes(file->bytes(0, kHead));
  const size_t span = size - kBlock - kHead;
  for (size_t i = 0; i < kBlocks; ++i) {
    const size_t offset = kHead + span / (kBlocks - 1) * i;
    marks += hash_bytes(file->bytes(offset, kBlock));
  }
  marks += hash_bytes(file->bytes(size - kBlock, kBlock));
  return str(size, " ", hash_bytes(marks));
}

}  // namespace

std::string ModelDir::fingerprint() const {
  std::vector<std::string> lines = {
      str("model_index.json ", file_mark(file_inside(path_ / "model_index.json", path_)))};
  for (const auto& component : components_) {
    const fs::path folder = path_ / component.key;
    std::vector<fs::path> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (is_config_file(entry.path()) && entry.is_regular_file(error)) files.push_back(entry.path());
    }
    if (error) fail("cannot read ", folder.string(), ": ", error.message());
    if (const auto weights = find_weight_files(folder, path_)) {
      files.insert(files.end(), weights->files.begin(), weights->files.end());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      const fs::path real = file_inside(file, path_);
      const std::string mark = fs::file_size(real) == 0 ? "0" : file_mark(real);
      lines.push_back(str(component.key, "/", file.filename().string(), " ", mark));
    }
  }
  return hash_bytes(join(lines, "\n"));
}

}  // namespace rushes
