// A tokenizer's JSON files. First byte odd: T5Tokenizer, even: as tokenizer.json says. Then, apart by NUL: a
// text to encode, tokenizer.json, tokenizer_config.json, special_tokens_map.json.

#include "models/tokenizers/t5.h"
#include "tokenize.h"

using namespace rushes;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes = fuzz::text_of(data, size);
  const bool t5 = fuzz::choice(bytes, 2) == 1;
  const std::vector<std::string> parts = fuzz::files_in(bytes, 4);
  TokenizerFiles files;
  files.tokenizer_json = parts[1];
  files.tokenizer_config = parts[2];
  files.special_tokens_map = parts[3];
  fuzz::accepted([&] {
    const auto tokenizer = t5 ? make_t5_tokenizer(files, "here") : make_fast_tokenizer(files, "here");
    fuzz::tokenize(*tokenizer, parts[0]);
  });
  return 0;
}
