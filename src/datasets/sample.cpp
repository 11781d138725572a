#include "datasets/sample.h"

#include <algorithm>

#include "base/error.h"
#include "weights/tensor_store.h"

namespace rushes {
namespace {

struct Kind {
  at::ScalarType dtype;
  int64_t dims;
};

const std::map<std::string, Kind>& kinds() {
  static const std::map<std::string, Kind> kinds = {{"latents", {at::kFloat, 4}},
                                                    {"text_embeds", {at::kFloat, 2}},
                                                    {"text_mask", {at::kByte, 1}},
                                                    {"frames", {at::kByte, 4}},
                                                    {"video", {at::kByte, 1}}};
  return kinds;
}

}  // namespace

const std::vector<std::string>& sample_parts() {
  static const std::vector<std::string> names = {"latents", "text_embeds", "text_mask", "frames", "video"};
  return names;
}

void write_sample(const std::filesystem::path& path, const Sample& sample, const std::string& owner) {
  write_safetensors(path, sample.parts,
                    {{"id", sample.id},
                     {"caption", sample.caption},
                     {"settings", sample.settings},
                     {"provenance", sample.provenance}},
                    owner);
}

Sample read_sample(const std::filesystem::path& path) {
  const TensorStore store = TensorStore::open_file(path);
  const auto text = [&](const char* key) {
    const auto found = store.metadata().find(key);
    if (found == store.metadata().end()) fail(path.string(), " is no sample of a data set: it has no ", key);
    return found->second;
  };
  Sample sample{text("id"), text("caption"), text("settings"), text("provenance"), {}};
  for (const auto& [name, stored] : store.tensors()) {
    const auto kind = kinds().find(name);
    if (kind == kinds().end() || stored.dtype != kind->second.dtype ||
        static_cast<int64_t>(stored.shape.size()) != kind->second.dims) {
      fail(path.string(), " is no sample of a data set: its part ", name, " is not known so");
    }
    sample.parts.emplace(name, as_tensor(stored));
  }
  return sample;
}

std::string bucket_of(const Sample& sample) {
  std::string name;
  for (const std::string& part : sample_parts()) {
    const auto found = sample.parts.find(part);
    if (found == sample.parts.end() || part == "text_mask") continue;
    if (!name.empty()) name += "-";
    const at::IntArrayRef sizes = found->second.sizes();
    name += part;
    if (part != kVideoPart) name += join(sizes.vec(), "x");
  }
  return name.empty() ? "empty" : name;
}

}  // namespace rushes
