#pragma once
// The encodings between which ftfy 6.3 looks for mix-ups (Apache-2.0; CHARMAP_ENCODINGS in ftfy/chardata.py,
// ftfy/bad_codecs, and the repairs of bytes in ftfy/fixes.py): single-byte ones, whose bytes without a
// meaning stand for the code points of their number, and UTF-8 with the sequences of CESU-8 and Java.

#include <optional>
#include <string>
#include <string_view>

namespace rushes::mojibake {

/// In the order in which they are tried.
enum class Codec {
  latin_1,
  sloppy_windows_1252,
  sloppy_windows_1251,
  sloppy_windows_1250,
  sloppy_windows_1253,
  sloppy_windows_1254,
  sloppy_windows_1257,
  iso_8859_2,
  macroman,
  cp437,
};
constexpr Codec kLastCodec = Codec::cp437;

/// The sloppy ones take U+FFFD, a character that is lost, for the byte 0x1A.
bool is_sloppy(Codec codec);

/// The bytes that read as `text`, or nothing where a character is not in the encoding.
std::optional<std::string> encode(Codec codec, std::u32string_view text);

/// Byte `byte` (0x80 on) in Windows-1252.
char32_t windows_1252(char32_t byte);

/// UTF-8, in which surrogate pairs may be written as two sequences of three bytes and U+0000 as C0 80;
/// nothing where it is not that.
std::optional<std::u32string> decode_utf8_variants(std::string_view bytes);

/// Spaces that would be a likely UTF-8 sequence's byte A0 become that.
std::string restore_byte_a0(std::string_view bytes);

/// Sequences of UTF-8 of which bytes are lost (0x1A, or one '?') become U+FFFD.
std::string replace_lossy_sequences(std::string_view bytes);

}  // namespace rushes::mojibake
