#include "models/tokenizers/icu/nfc.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <limits>

#include "base/error.h"

namespace rushes {

std::string normalize_nfc(const std::string& text) {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    fail("a text of ", text.size(), " bytes is too long");
  }
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  std::string out;
  if (U_SUCCESS(status)) {
    icu::StringByteSink<std::string> sink(&out);
    nfc->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                       status);
  }
  if (U_FAILURE(status)) throw InternalError(std::string("ICU: ") + u_errorName(status));
  return out;
}

}  // namespace rushes
