#pragma once
// SentencePiece's precompiled character map ("Precompiled" in tokenizer.json): a double-array trie of byte
// sequences, each with the text that replaces it. Format: sentencepiece's builder.cc (4 bytes little-endian
// size of the trie, the trie's 32-bit units, then NUL-terminated texts); behaviour: the tokenizers library's
// Precompiled.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rushes {

class Charsmap {
 public:
  /// `bytes` as stored in spiece.model. Throws UserError with `where` if they are no such map. Whatever they
  /// hold, later look-ups stay inside them.
  Charsmap(std::string_view bytes, const std::string& where);

  /// The replacement of the shortest known sequence that starts `chunk`, or nothing. (The whole chunk is then
  /// taken as replaced: that is what the reference does.)
  std::optional<std::string_view> replacement(std::string_view chunk) const;

 private:
  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace rushes
