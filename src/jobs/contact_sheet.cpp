#include "jobs/contact_sheet.h"

#include <algorithm>

#include "base/log.h"
#include "media/ffmpeg/image.h"
#include "media/ffmpeg/video.h"
#include "media/picture_grid.h"

namespace rushes {
namespace {

constexpr size_t kMostPictures = 60;
constexpr int64_t kMostSide = 192;  // pixels

/// The middle frame, as small as the sheet needs it.
Frames middle_of(const Item& item, const OutputFolder& folder, bool from_frames,
                 const std::string& container) {
  const int64_t middle = item.sampling.num_frames / 2;
  const Frames frame =
      from_frames
          ? read_png(folder.root() / OutputFolder::frames_path(item.id) / OutputFolder::frame_name(middle))
          : read_frame(folder.root() / OutputFolder::video_path(item.id, container), middle);
  return thumbnail(frame, 0, kMostSide);
}

}  // namespace

std::vector<size_t> spread_evenly(size_t count, size_t most) {
  std::vector<size_t> chosen;
  const size_t wanted = std::min(count, most);
  for (size_t i = 0; i < wanted; ++i)
    chosen.push_back(wanted == 1 ? 0 : i * (count - 1) / (wanted - 1));
  return chosen;
}

void write_contact_sheet(const ResolvedJob& job, const OutputFolder& folder, const WorkPlace& work,
                         const std::set<std::string>& done, const StopToken& stop) {
  const auto saves = [&](const char* kind) {
    return std::find(job.job.save.begin(), job.job.save.end(), kind) != job.job.save.end();
  };
  if (!saves("frames") && !saves("video")) return;
  std::vector<const Item*> items;
  for (const Item& item : job.items) {
    if (done.count(item.id) > 0) items.push_back(&item);
  }
  std::vector<Frames> pictures;
  for (const size_t i : spread_evenly(items.size(), kMostPictures)) {
    if (stop.requested()) return;
    try {
      pictures.push_back(middle_of(*items[i], folder, saves("frames"), job.job.video.container));
    } catch (const UserError& error) {
      log_warning("contact-sheet.png goes without ", items[i]->id, ": ", error.what());
    }
  }
  if (pictures.empty()) return;
  work.write_file(folder.contact_sheet(), encode_png(picture_grid(pictures), 0));
}

}  // namespace rushes
