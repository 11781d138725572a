// safetensors files. First byte even: the rest is a whole file. Odd: two bytes of data size, then the
// header's JSON, so that mutations need not keep the length in front of it right.

#include "fuzz.h"
#include "weights/tensor_store.h"

using namespace rushes;

namespace {

std::string file_of(std::string bytes) {
  if (fuzz::choice(bytes, 2) == 0 || bytes.size() < 2) return bytes;
  const size_t data = static_cast<unsigned char>(bytes[0]) | size_t{static_cast<unsigned char>(bytes[1])}
                                                                 << 8;
  const std::string header = bytes.substr(2);
  std::string file;
  for (int i = 0; i < 8; ++i)
    file.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
  file += header;
  file.append(data, '\1');
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  const std::string file = file_of(fuzz::text_of(data, size));
  const auto path = scratch.write("model.safetensors", file);
  fuzz::accepted([&] {
    const TensorStore store = TensorStore::open_file(path);
    size_t total = 0;
    for (const auto& [name, stored] : store.tensors()) {
      total += stored.bytes;
      // Every byte is there to be read.
      unsigned sum = 0;
      for (size_t i = 0; i < stored.bytes; ++i)
        sum += std::to_integer<unsigned>(stored.data[i]);
      fuzz::hold(sum <= 255 * stored.bytes, "sum");
      fuzz::accepted([&] {
        const at::Tensor tensor = as_tensor(stored);
        fuzz::hold(tensor.nbytes() == stored.bytes && tensor.sizes() == at::IntArrayRef(stored.shape),
                   "a tensor is as its header says");
      });
    }
    fuzz::hold(total <= file.size(), "tensors lie in the file without overlap");
  });
  return 0;
}
