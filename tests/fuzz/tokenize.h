#pragma once
// For targets that make a tokenizer of files and try it on a text; each is one source file.

#include "base/log.h"
#include "fuzz.h"
#include "models/interfaces.h"

namespace rushes::fuzz {

inline void tokenize(const Tokenizer& tokenizer, const std::string& text) {
  for (const int64_t length : {1, 7, 64}) {
    accepted([&] {
      const TokenIds tokens = tokenizer.encode(text, length);
      const auto count = static_cast<size_t>(length);
      hold(tokens.input_ids.size() == count && tokens.attention_mask.size() == count, "as long as asked");
      for (const int64_t id : tokens.input_ids)
        hold(id >= 0 && id < tokenizer.vocabulary(), "ids are below the vocabulary's size");
    });
  }
}

}  // namespace rushes::fuzz

/// What a tokenizer says of differences would be a line each run.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  rushes::log_setup(0, 1, rushes::LogLevel::error);
  return 0;
}
