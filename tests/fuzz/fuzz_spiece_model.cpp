// spiece.model. First byte: the length of a text to encode, which follows; then the file.

#include "models/tokenizers/t5.h"
#include "tokenize.h"

using namespace rushes;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes = fuzz::text_of(data, size);
  const size_t length = std::min(fuzz::choice(bytes, 256), bytes.size());
  TokenizerFiles files;
  files.sentencepiece = bytes.substr(length);
  files.tokenizer_config = R"({"extra_ids": 2})";
  fuzz::accepted([&] { fuzz::tokenize(*make_t5_tokenizer(files, "here"), bytes.substr(0, length)); });
  return 0;
}
