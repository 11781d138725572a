// A model folder's own JSON. Apart by NUL: model_index.json, transformer/config.json, and the transformer's
// diffusion_pytorch_model.safetensors.index.json, beside one shard.

#include "fuzz.h"
#include "weights/model_dir.h"
#include "weights/model_files.h"

using namespace rushes;

namespace {

/// A shard with the tensors a and b, of 4 and 2 bytes.
std::string shard() {
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[],"data_offsets":[4,6]}})";
  return std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "abcdef";
}

const std::filesystem::path& folder() {
  static const fuzz::Scratch scratch;
  static const std::filesystem::path path = [] {
    for (const char* component : {"transformer", "vae", "text_encoder", "tokenizer", "scheduler"})
      std::filesystem::create_directories(scratch.path() / component);
    scratch.write("transformer/s.safetensors", shard());
    return scratch.path();
  }();
  return path;
}

void write(const std::string& name, const std::string& bytes) {
  std::FILE* file = std::fopen((folder() / name).c_str(), "wb");
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::abort();
  std::fclose(file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> files = fuzz::files_in(fuzz::text_of(data, size), 3);
  write("model_index.json", files[0]);
  write("transformer/config.json", files[1]);
  write("transformer/diffusion_pytorch_model.safetensors.index.json", files[2]);
  fuzz::accepted([&] {
    const ModelDir model = ModelDir::open(folder());
    for (const ComponentEntry& component : model.components())
      fuzz::hold(model.find(component.key) == &component, "a component is found by its key");
    fuzz::accepted([&] { model.component_config("transformer"); });
    fuzz::accepted([&] {
      const TensorStore tensors = model.component_tensors("transformer");
      fuzz::hold(tensors.tensors().size() == 2, "the index names both tensors");
    });
  });
  return 0;
}
