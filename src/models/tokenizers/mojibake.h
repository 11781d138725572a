#pragma once
// Mojibake repaired as ftfy 6.3 does (Apache-2.0; fix_encoding in ftfy/__init__.py with its default
// settings): text that was UTF-8, was read as a single-byte encoding, and looks it: "sÃ³" becomes "só".

#include <string>

namespace rushes {

/// `text`: valid UTF-8. A text that is ASCII, or has nothing odd about it, comes back as it is.
std::string fix_encoding(const std::string& text);

}  // namespace rushes
