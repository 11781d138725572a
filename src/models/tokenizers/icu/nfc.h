#pragma once
// Unicode normalisation by ICU.

#include <string>

namespace rushes {

/// Normalisation form C of valid UTF-8. Throws UserError for text beyond 2^31 bytes, InternalError if ICU's
/// data are missing.
std::string normalize_nfc(const std::string& text);

}  // namespace rushes
