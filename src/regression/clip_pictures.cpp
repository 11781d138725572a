#include "regression/clip_pictures.h"

#include "base/error.h"
#include "media/ffmpeg/image.h"
#include "media/ffmpeg/video.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostPictureBytes = uint64_t{8} << 30;  // as read_video

}  // namespace

const char* source_name(PictureSource source) {
  return source == PictureSource::frames ? "frames (lossless)" : "the video (decoded, lossy)";
}

Frames load_pictures(const ClipFiles& clip, PictureSource source) {
  const std::vector<ClipFile> files =
      files_of_kind(clip, source == PictureSource::frames ? "frames" : "video");
  if (files.empty()) fail("clip ", clip.id, " has no ", source_name(source));
  if (source == PictureSource::video) return read_video(clip.root / files.front().path).frames;
  Frames all;
  for (const ClipFile& file : files) {
    const fs::path path = clip.root / file.path;
    const Frames one = read_png(path);
    if (files.size() * one.rgb.size() > kMostPictureBytes)
      fail(path.string(), ": ", files.size(), " frames of ", one.width, "x", one.height, " need more than ",
           kMostPictureBytes, " bytes of memory");
    if (all.count == 0) {
      all.height = one.height;
      all.width = one.width;
      all.rgb.reserve(files.size() * one.rgb.size());
    }
    if (one.height != all.height || one.width != all.width)
      fail(path.string(), " is ", one.width, "x", one.height, ", the first frame ", all.width, "x",
           all.height);
    all.rgb.insert(all.rgb.end(), one.rgb.begin(), one.rgb.end());
    ++all.count;
  }
  return all;
}

}  // namespace rushes
