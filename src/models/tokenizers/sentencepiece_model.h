#pragma once
// spiece.model: SentencePiece's ModelProto (sentencepiece_model.proto), read from its wire format. Only the
// fields that a tokenizer is made from are kept.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rushes {

enum class PieceKind { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct SentencePiece {
  std::string text;
  double score = 0;
  PieceKind kind = PieceKind::normal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;
  int64_t model_type = 1;  // 1 Unigram, 2 BPE, 3 word, 4 character
  std::string charsmap;    // normalizer_spec.precompiled_charsmap
};

/// Throws UserError with `where` for bytes that are no such model. Never reads outside them, and allocates no
/// more than a small multiple of their size.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& where);

}  // namespace rushes
