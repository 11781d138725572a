#pragma once
// A folder of videos with captions, as the prompts of job: preprocess.

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace rushes {

struct CaptionedVideo {
  std::string video;    // the file, below the folder as that was given
  std::string caption;  // UTF-8, not empty, without white space at its ends
  std::string id;       // made of the name, good as a file name; "": none can be made
};

/// Every video below `folder` (mp4, m4v, mov, mkv, webm, avi; no hidden ones), by name. Captions come from,
/// in this order, the folder's metadata.jsonl or metadata.csv (`file_name` and `text`, `caption` or `prompt`;
/// the video folders of the Hub), its videos2caption.json (`path`, `cap`; FastVideo's), and the text file of
/// the same name beside a video. Notes videos without a caption, captions without a video, and what cannot be
/// read.
std::vector<CaptionedVideo> videos_of_folder(const std::filesystem::path& folder, Problems& problems);

}  // namespace rushes
