#pragma once
// Video files by FFmpeg's libraries, linked: H.264 (libx264, GPL) in MP4.
//
// Colours: RGB -> YUV 4:2:0 by the BT.709 matrix in limited range, and the file says so. Equal frames give
// equal bytes: no time, no library version of the muxer, one encoder thread, and x264 told to decide nothing
// by the processor.

#include <cstdint>
#include <filesystem>
#include <string>

#include "media/frames.h"

namespace rushes {

/// The job file's `video:`.
struct VideoFormat {
  std::string codec = "h264";     // h264
  int64_t crf = 18;               // x264's constant rate factor, 0 (lossless in YUV) to 51
  std::string container = "mp4";  // mp4
};

/// What the file says of itself, in tags that every player shows and ffprobe prints (`-show_entries
/// format_tags`): UTF-8 without NUL, "" leaves a tag out. MP4 has these two as iTunes' name and comment; it
/// has no place for names of one's own, so whatever has more to say says it in `comment`.
struct VideoTags {
  std::string title;
  std::string comment;
};

/// Writes all frames at `fps` frames a second. Throws UserError (path and reason, a full disk among them) and
/// removes what it has written; does not sync. Sides must be even (4:2:0), and there must be a frame.
void write_video(const std::filesystem::path& path, const Frames& frames, int64_t fps,
                 const VideoFormat& format, const VideoTags& tags = {});

struct Video {
  Frames frames;
  int64_t fps_num = 0;  // frames a second as a fraction
  int64_t fps_den = 1;
};

/// Reads every frame of the first video stream as RGB. Throws UserError, also where the frames would need
/// more than `max_bytes`.
Video read_video(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{8} << 30);

/// The frame that is shown as number `index`, or the last where there are fewer; decodes no further. Throws
/// UserError.
Frames read_frame(const std::filesystem::path& path, int64_t index);

/// What is wanted of a video.
struct ClipShape {
  int64_t count = 0, height = 0, width = 0;
  int64_t fps = 0;
};
/// The first `count` frames that a player shows at 0, 1 / fps, 2 / fps, ... seconds, scaled to cover height x
/// width and cut at the middle. Reads no further than that. Quarter turns that the file asks for are made,
/// and pixels count as wide as it says. Throws UserError, also for a video that is too short.
Frames read_clip(const std::filesystem::path& path, const ClipShape& shape);

}  // namespace rushes
