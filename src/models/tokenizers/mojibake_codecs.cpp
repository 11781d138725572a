#include "models/tokenizers/mojibake_codecs.h"

#include <algorithm>
#include <array>

namespace rushes::mojibake {
namespace {

struct CodecTable {
  Codec codec;
  std::u16string_view characters;  // of bytes 0x80 to 0xFF
};

#include "models/tokenizers/mojibake_codecs.inc"

constexpr size_t kCodecCount = static_cast<size_t>(kLastCodec) + 1;
constexpr char kLost = 0x1A;

struct EncoderRow {
  char16_t character;
  unsigned char byte;
};
using Encoder = std::array<EncoderRow, 128>;  // in order of characters

constexpr std::array<Encoder, kCodecCount> make_encoders() {
  static_assert(std::size(kCodecs) == kCodecCount);
  std::array<Encoder, kCodecCount> encoders{};
  for (const CodecTable& table : kCodecs) {
    Encoder& encoder = encoders[static_cast<size_t>(table.codec)];
    for (size_t i = 0; i < encoder.size(); ++i) {
      encoder[i] = {table.characters[i], static_cast<unsigned char>(0x80 + i)};
    }
    std::sort(encoder.begin(), encoder.end(),
              [](const EncoderRow& a, const EncoderRow& b) { return a.character < b.character; });
  }
  return encoders;
}

constexpr std::array<Encoder, kCodecCount> kEncoders = make_encoders();

unsigned char byte_at(std::string_view bytes, size_t at) {
  return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0;
}

bool between(unsigned char byte, int first, int last) {
  return byte >= first && byte <= last;
}

bool is_continuation(unsigned char byte) {
  return between(byte, 0x80, 0xBF);
}

/// One character and the bytes that it takes; 0 bytes: none.
struct Decoded {
  char32_t character = 0;
  size_t length = 0;
};

/// A surrogate pair in two sequences of three bytes at `at`.
Decoded decode_surrogates(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return byte_at(bytes, at + i); };
  // ftfy's pattern ends in "$", which is also before a line feed at the end: that one counts as the last
  // byte.
  const bool last = is_continuation(byte(5)) || (byte(5) == '\n' && at + 6 == bytes.size());
  if (!between(byte(1), 0xA0, 0xAF) || !is_continuation(byte(2)) || byte(3) != 0xED ||
      !between(byte(4), 0xB0, 0xBF) || !last) {
    return {};
  }
  const char32_t high = (byte(1) & 0x0Fu) << 6 | (byte(2) & 0x3Fu);
  const char32_t low = (byte(4) & 0x0Fu) << 6 | (byte(5) & 0x3Fu);
  return {0x10000 + (high << 10 | low), 6};
}

Decoded decode_one(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return byte_at(bytes, at + i); };
  const auto bits = [&](size_t i) { return static_cast<char32_t>(byte(i) & 0x3F); };
  const unsigned char lead = byte(0), second = byte(1);
  if (lead < 0x80) return {lead, 1};
  if (lead == 0xC0) {
    // The line feed for the same reason as above.
    const bool null = second == 0x80 || (second == '\n' && at + 2 == bytes.size());
    return null ? Decoded{0, 2} : Decoded{};
  }
  if (lead < 0xC2 || lead > 0xF4) return {};
  if (lead < 0xE0) {
    return is_continuation(second) ? Decoded{(lead & 0x1Fu) << 6 | bits(1), 2} : Decoded{};
  }
  if (lead == 0xED && second >= 0xA0) return decode_surrogates(bytes, at);
  if (!is_continuation(second) || !is_continuation(byte(2))) return {};
  if (lead < 0xF0) {
    if (lead == 0xE0 && second < 0xA0) return {};  // a longer form than needed
    return {(lead & 0x0Fu) << 12 | bits(1) << 6 | bits(2), 3};
  }
  if (!is_continuation(byte(3)) || (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
    return {};
  }
  return {(lead & 0x07u) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3), 4};
}

/// The length of a sequence at `at` that would be UTF-8 if its one space were A0, or 0. The leads are those
/// that give likely characters; 85 and A0 are left out beside the shorter of them.
size_t altered_length(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return byte_at(bytes, at + i); };
  const auto is_usual = [](unsigned char b) { return is_continuation(b) && b != 0x85 && b != 0xA0; };
  const unsigned char lead = byte(0);
  if (lead == 0xC2 || lead == 0xC3 || lead == 0xC5 || lead == 0xCE || lead == 0xD0 || lead == 0xD9) {
    return byte(1) == ' ' ? 2 : 0;
  }
  if (between(lead, 0xE0, 0xE3)) {
    const bool second = lead >= 0xE2 && byte(1) == ' ' && is_usual(byte(2));
    return second || (is_usual(byte(1)) && byte(2) == ' ') ? 3 : 0;
  }
  if (lead == 0xF0) {
    int spaces = 0;
    for (size_t i = 1; i < 4; ++i) {
      if (byte(i) != ' ' && !is_continuation(byte(i))) return 0;
      spaces += byte(i) == ' ';
    }
    return spaces == 1 ? 4 : 0;
  }
  return 0;
}

/// "Ã " alone is "à" and a space; unless it begins one of the Portuguese words that follow, or two spaces do.
bool is_word_a_grave(std::string_view bytes, size_t at) {
  if (byte_at(bytes, at) != 0xC3 || byte_at(bytes, at + 1) != ' ') return false;
  const std::string_view rest = bytes.substr(at + 2);
  for (const std::string_view other : {" ", "quele", "quela", "quilo", "s "}) {
    if (rest.starts_with(other)) return false;
  }
  return true;
}

/// The length of a sequence at `at` in which bytes are lost, or 0.
size_t lossy_length(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return byte_at(bytes, at + i); };
  const auto is_lost = [](unsigned char b) { return b == kLost || b == '?'; };
  const unsigned char lead = byte(0);
  if (lead == kLost) return 1;
  if (between(lead, 0xC2, 0xDF)) return byte(1) == kLost || (lead <= 0xC3 && byte(1) == '?') ? 2 : 0;
  if (lead == 0xED && between(byte(1), 0xA0, 0xAF) && byte(3) == 0xED && between(byte(4), 0xB0, 0xBF) &&
      (is_lost(byte(2)) || is_continuation(byte(2))) && (is_lost(byte(5)) || is_continuation(byte(5))) &&
      (is_lost(byte(2)) || is_lost(byte(5)))) {
    return 6;
  }
  const size_t length = between(lead, 0xE0, 0xEF) ? 3 : between(lead, 0xF0, 0xF4) ? 4 : 0;
  int lost = 0, questions = 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_lost(byte(i)) && !is_continuation(byte(i))) return 0;
    lost += is_lost(byte(i));
    questions += byte(i) == '?';
  }
  return lost > 0 && questions < 2 ? length : 0;
}

}  // namespace

bool is_sloppy(Codec codec) {
  return codec >= Codec::sloppy_windows_1252 && codec <= Codec::sloppy_windows_1257;
}

std::optional<std::string> encode(Codec codec, std::u32string_view text) {
  const Encoder& encoder = kEncoders[static_cast<size_t>(codec)];
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t c : text) {
    if (c < 0x80) {
      if (c == kLost && is_sloppy(codec)) return std::nullopt;
      bytes.push_back(static_cast<char>(c));
    } else if (c == 0xFFFD && is_sloppy(codec)) {
      bytes.push_back(kLost);
    } else {
      const auto row =
          std::lower_bound(encoder.begin(), encoder.end(), c,
                           [](const EncoderRow& a, char32_t value) { return a.character < value; });
      if (row == encoder.end() || row->character != c) return std::nullopt;
      bytes.push_back(static_cast<char>(row->byte));
    }
  }
  return bytes;
}

char32_t windows_1252(char32_t byte) {
  return kCodecs[static_cast<size_t>(Codec::sloppy_windows_1252)].characters[byte - 0x80];
}

std::optional<std::u32string> decode_utf8_variants(std::string_view bytes) {
  std::u32string text;
  text.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const Decoded decoded = decode_one(bytes, at);
    if (decoded.length == 0) return std::nullopt;
    text.push_back(decoded.character);
    at += decoded.length;
  }
  return text;
}

std::string restore_byte_a0(std::string_view bytes) {
  std::string words, out;
  words.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size(); ++at) {
    words.push_back(bytes[at]);
    if (is_word_a_grave(bytes, at)) words.push_back('\xA0');
  }
  out.reserve(words.size());
  for (size_t at = 0; at < words.size();) {
    const size_t length = altered_length(words, at);
    for (const size_t end = at + std::max<size_t>(length, 1); at < end; ++at) {
      out.push_back(length > 0 && words[at] == ' ' ? '\xA0' : words[at]);
    }
  }
  return out;
}

std::string replace_lossy_sequences(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = lossy_length(bytes, at);
    if (length > 0) {
      out += "\uFFFD";
      at += length;
    } else {
      out.push_back(bytes[at++]);
    }
  }
  return out;
}

}  // namespace rushes::mojibake
