// A folder of videos with captions: metadata.jsonl, metadata.csv, videos2caption.json, a text beside a video.

#include "fuzz.h"
#include "jobs/video_folder.h"

using namespace rushes;

/// The four files, apart by NUL; one that is absent or empty is not there.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  static const std::vector<std::string> names = {"metadata.jsonl", "metadata.csv", "videos2caption.json",
                                                 "b c.txt"};
  const std::vector<std::string> files = fuzz::files_in(fuzz::text_of(data, size), names.size());
  std::filesystem::create_directories(scratch.path() / "videos");
  for (const char* video : {"a.mp4", "b c.mp4", "videos/d.webm"})
    scratch.write(video, "");
  for (size_t i = 0; i < names.size(); ++i) {
    if (files[i].empty()) {
      std::filesystem::remove(scratch.path() / names[i]);
    } else {
      scratch.write(names[i], files[i]);
    }
  }
  fuzz::accepted([&] {
    Problems problems;
    const auto videos = videos_of_folder(scratch.path(), problems);
    for (const CaptionedVideo& video : videos) {
      fuzz::hold(!video.caption.empty() || !problems.empty(), "a video has a caption, or it is told",
                 video.video);
      fuzz::hold(video.id.find('/') == std::string::npos && video.id != "..", "an id is a file name",
                 video.id);
    }
    problems.throw_if_any();
    fuzz::hold(videos.size() == 3, "every video is there");
  });
  return 0;
}
