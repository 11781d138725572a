#include "models/tokenizers/sentencepiece_model.h"

#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/quote.h"

namespace rushes {
namespace {

/// Protocol buffers' wire format: fields of (number, kind), one after the other.
class WireReader {
 public:
  enum Kind { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

  WireReader(std::string_view message, const std::string& where) : rest_(message), where_(where) {}

  /// Goes on to the next field; false at the end.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t tag = read_varint();
    number_ = tag >> 3;
    kind_ = static_cast<int>(tag & 7);
    text_ = {};
    value_ = 0;
    if (number_ == 0 || number_ > 0x1FFFFFFF) damaged("field number 0 or too large");
    switch (kind_) {
      case varint:
        value_ = read_varint();
        break;
      case fixed64:
        value_ = read_fixed(8);
        break;
      case bytes: {
        const uint64_t size = read_varint();
        if (size > rest_.size()) damaged("a field goes past the end");
        text_ = rest_.substr(0, size);
        rest_.remove_prefix(size);
        break;
      }
      case fixed32:
        value_ = read_fixed(4);
        break;
      default:
        damaged("unknown kind of field");
    }
    return true;
  }

  bool is(uint64_t number, Kind kind) const {
    if (number_ != number) return false;
    if (kind_ != kind) damaged(str("field ", number, " is of another kind"));
    return true;
  }
  uint64_t value() const { return value_; }
  std::string_view text() const { return text_; }
  float real() const { return std::bit_cast<float>(static_cast<uint32_t>(value_)); }

 private:
  [[noreturn]] void damaged(const std::string& why) const {
    fail(where_, ": no SentencePiece model (", why, ")");
  }

  uint64_t read_varint() {
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) damaged("cut off");
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      result |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return result;
    }
    damaged("a number is too long");
  }

  uint64_t read_fixed(size_t size) {
    if (rest_.size() < size) damaged("cut off");
    uint64_t result = 0;
    for (size_t i = 0; i < size; ++i) {
      result |= static_cast<uint64_t>(static_cast<unsigned char>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(size);
    return result;
  }

  std::string_view rest_;
  const std::string& where_;
  uint64_t number_ = 0, value_ = 0;
  int kind_ = 0;
  std::string_view text_;
};

SentencePiece parse_piece(std::string_view message, size_t id, const std::string& where) {
  SentencePiece piece;
  WireReader field(message, where);
  while (field.next()) {
    if (field.is(1, WireReader::bytes)) piece.text = field.text();
    if (field.is(2, WireReader::fixed32)) piece.score = static_cast<double>(field.real());
    if (field.is(3, WireReader::varint)) {
      if (field.value() < 1 || field.value() > 6)
        fail(where, ": piece ", id, " has the type ", field.value());
      piece.kind = static_cast<PieceKind>(field.value());
    }
  }
  if (!is_utf8(piece.text)) fail(where, ": piece ", id, " is not UTF-8");
  if (!std::isfinite(piece.score))
    fail(where, ": piece ", id, " (", quote_name(piece.text), ") has the score ", piece.score);
  return piece;
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& where) {
  SentencePieceModel model;
  WireReader field(bytes, where);
  while (field.next()) {
    if (field.is(1, WireReader::bytes)) {
      model.pieces.push_back(parse_piece(field.text(), model.pieces.size(), where));
    } else if (field.is(2, WireReader::bytes)) {
      WireReader trainer(field.text(), where);
      while (trainer.next()) {
        if (trainer.is(3, WireReader::varint)) model.model_type = static_cast<int64_t>(trainer.value());
      }
    } else if (field.is(3, WireReader::bytes)) {
      WireReader normalizer(field.text(), where);
      while (normalizer.next()) {
        if (normalizer.is(2, WireReader::bytes)) model.charsmap = normalizer.text();
      }
    }
  }
  if (model.pieces.empty()) fail(where, ": no SentencePiece model (it has no pieces)");
  return model;
}

}  // namespace rushes
