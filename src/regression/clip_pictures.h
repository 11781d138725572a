#pragma once
// The pictures of a clip on disk.

#include <string>

#include "media/frames.h"
#include "regression/clip_files.h"

namespace rushes {

/// Where the pictures of a clip come from.
enum class PictureSource { frames, video };
const char* source_name(PictureSource source);  // "frames (lossless)", "the video (decoded, lossy)"

/// The clip's pictures. Throws UserError: a file is missing or broken, or its frames differ in size.
Frames load_pictures(const ClipFiles& clip, PictureSource source);

}  // namespace rushes
