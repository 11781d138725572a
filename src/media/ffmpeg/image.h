#pragma once
// PNG and JPEG images by FFmpeg's libraries.

#include <cstdint>
#include <filesystem>
#include <string>

#include "media/frames.h"

namespace rushes {

/// One frame as the bytes of a PNG file (8-bit RGB), Equal frames give equal bytes.
std::string encode_png(const Frames& frames, int64_t index);
/// One frame as the bytes of a JPEG file (full colour resolution, good quality): for people to look at.
std::string encode_jpeg(const Frames& frames, int64_t index);
/// A PNG of any kind as one 8-bit RGB frame. Throws UserError with `name`; bounded to 2^28 pixels.
Frames decode_png(const std::string& bytes, const std::string& name);

/// encode_png into a file; does not sync. Throws UserError (path and reason) and removes what it has written.
void write_png(const std::filesystem::path& path, const Frames& frames, int64_t index);
Frames read_png(const std::filesystem::path& path);

}  // namespace rushes
