// A prompt's text, cleaned.

#include "base/file.h"
#include "fuzz.h"
#include "models/tokenizers/icu/nfc.h"
#include "models/tokenizers/prompt_clean.h"

using namespace rushes;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text = fuzz::text_of(data, size);
  std::string clean;
  if (fuzz::accepted([&] { clean = clean_prompt(text, normalize_nfc); }))
    fuzz::hold(is_utf8(clean), "a cleaned prompt is UTF-8");
  return 0;
}
