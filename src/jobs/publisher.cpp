#include "jobs/publisher.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "base/timer.h"
#include "base/version.h"
#include "config/job_file.h"
#include "jobs/checkpoints.h"
#include "jobs/ledger.h"
#include "jobs/provenance.h"
#include "media/ffmpeg/image.h"
#include "media/ffmpeg/video.h"
#include "weights/tensor_store.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

void make_parent(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) fail("cannot make the folder ", path.parent_path().string(), ": ", error.message());
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("cannot write ", to.string(), ": ", std::strerror(errno));
}

/// Entries of what lies in the work place, under the names they are about to get.
std::vector<FileEntry> entries_of(const fs::path& from, const std::string& to, const std::string& kind) {
  std::vector<FileEntry> entries;
  const auto add = [&](const fs::path& file, const std::string& name) {
    FileEntry entry = file_entry(file.parent_path(), kind, file.filename().string());
    entry.path = name;
    entries.push_back(std::move(entry));
  };
  if (!fs::is_directory(from)) {
    add(from, to);
    return entries;
  }
  for (const auto& file : fs::directory_iterator(from)) {
    add(file.path(), to + "/" + file.path().filename().string());
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return entries;
}

std::string kind_of(const std::string& path) {
  if (path.starts_with("hdf5/")) return "hdf5";
  return path.starts_with("videos/") ? "video" : path.starts_with("latents/") ? "latents" : "frames";
}

}  // namespace

Publisher::Publisher(const ResolvedJob& job, const OutputFolder& folder, const WorkPlace& work,
                     Claims& claims, const EventLog& events, RunFacts facts)
    : resolved_(job),
      job_(job.job),
      folder_(folder),
      work_(work),
      claims_(claims),
      events_(events),
      facts_(std::move(facts)),
      shards_(folder, work, job.job.dataset) {}

nlohmann::json Publisher::describe(const Item& item) const {
  nlohmann::json facts = {{"prompt", item.prompt},
                          {"where", item.where},
                          {"sampling", get_fields(sampling_fields(), item.sampling)},
                          {"model", job_.model},
                          {"weights", resolved_.facts.model},
                          {"weights_revision", job_.weights_revision},
                          {"code", version_text()},
                          {"host", facts_.host},
                          {"batch_job", facts_.batch_job},
                          {"rank", facts_.rank},
                          {"layout", facts_.layout},
                          {"device", facts_.device},
                          {"threads", facts_.threads}};
  if (item.min_ssim) facts["min_ssim"] = *item.min_ssim;
  return facts;
}

std::vector<std::pair<fs::path, std::string>> Publisher::encode(const Delivery& delivery) const {
  std::vector<std::pair<fs::path, std::string>> made;
  const std::string& id = delivery.item->id;
  const VideoTags tags = provenance_tags(resolved_, *delivery.item);
  for (const std::string& kind : job_.save) {
    if (kind == "video") {
      const fs::path path = work_.path(id + "." + job_.video.container);
      write_video(path, delivery.clip.frames, delivery.item->sampling.fps, video_format(), tags);
      sync_path(path);
      made.emplace_back(path, OutputFolder::video_path(id, job_.video.container));
    } else if (kind == "latents") {
      const fs::path path = work_.path(id + ".safetensors");
      write_safetensors(path, {{"latents", delivery.clip.latents}}, {}, "w");
      made.emplace_back(path, OutputFolder::latents_path(id));
    } else if (kind == "frames") {
      const fs::path path = work_.path(id + ".frames");
      make_parent(path / "x");
      for (int64_t index = 0; index < delivery.clip.frames.count; ++index) {
        write_png(path / OutputFolder::frame_name(index), delivery.clip.frames, index);
        sync_path(path / OutputFolder::frame_name(index));
      }
      sync_path(path);
      made.emplace_back(path, OutputFolder::frames_path(id));
    } else if (kind == "hdf5") {
      const fs::path path = work_.path(id + ".sample.safetensors");
      const fs::path video = work_.path(id + ".sample." + job_.video.container);
      if (job_.dataset.pixels == "video") {
        write_video(video, delivery.clip.frames, delivery.item->sampling.fps, video_format(), tags);
      }
      write_sample(path, sample_of(delivery, video), "w");
      std::error_code ignored;
      fs::remove(video, ignored);
      made.emplace_back(path, ShardStore::spool_path(facts_.replica, id));
    } else {
      throw InternalError("nothing writes the output kind '" + kind + "'");
    }
  }
  return made;
}

VideoFormat Publisher::video_format() const {
  return {.codec = job_.video.codec, .crf = job_.video.crf, .container = job_.video.container};
}

Sample Publisher::sample_of(const Delivery& delivery, const fs::path& video) const {
  const Clip& clip = delivery.clip;
  const Item& item = *delivery.item;
  nlohmann::json settings = get_fields(sampling_fields(), item.sampling);
  const auto text = [](const nlohmann::json& json) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  nlohmann::json provenance = describe(item);
  provenance["request_hash"] = item.request_hash;
  if (!delivery.memory.is_null()) provenance["memory"] = delivery.memory;
  for (const char* key : {"prompt", "sampling", "where"})
    provenance.erase(key);
  Sample sample{item.id, item.prompt, text(settings), text(provenance), {}};
  sample.parts["latents"] = clip.latents[0];
  if (clip.text_embeds.defined()) {
    sample.parts["text_embeds"] = clip.text_embeds[0];
    sample.parts["text_mask"] = at::arange(clip.text_embeds.size(1)).lt(clip.text_tokens).to(at::kByte);
  }
  if (job_.dataset.pixels == "frames") {
    const Frames& frames = clip.frames;
    auto* const rgb = const_cast<uint8_t*>(frames.rgb.data());
    sample.parts["frames"] = at::from_blob(rgb, {frames.count, frames.height, frames.width, 3}, at::kByte);
  } else if (job_.dataset.pixels == "video") {
    const std::string bytes = read_file(video);
    sample.parts["video"] =
        at::from_blob(const_cast<char*>(bytes.data()), {static_cast<int64_t>(bytes.size())}, at::kByte)
            .clone();
  }
  return sample;
}

void Publisher::join_shards(bool all) {
  if (!saves_hdf5(job_)) return;
  if (!all && spooled_ < job_.dataset.shard_clips) return;
  shards_.join(facts_.replica, all);
  spooled_ = 0;
}

void Publisher::move_into_place(const fs::path& from, const std::string& to) const {
  const fs::path target = folder_.root() / to;
  make_parent(target);
  if (fs::is_directory(from) && fs::exists(target)) {
    // A folder cannot be renamed over one with files in it.
    const fs::path old = work_.path(target.filename().string() + ".old");
    rename_or_fail(target, old);
    rename_or_fail(from, target);
    std::error_code ignored;
    fs::remove_all(old, ignored);
  } else {
    rename_or_fail(from, target);
  }
  sync_path(target.parent_path());
}

/// The record of what was made earlier from the very same request and the job does not save now: it stays.
std::optional<ItemRecord> Publisher::still_good(const Item& item) const {
  std::vector<std::string> ignored;
  std::optional<ItemRecord> kept = read_record(folder_.record(item.id), ignored);
  if (!kept || facts_.fresh || !kept->done || kept->request_hash != item.request_hash) return std::nullopt;
  std::set<std::string> going(job_.save.begin(), job_.save.end());
  for (const FileEntry& file : kept->files) {
    ItemRecord one;
    one.files = {file};
    if (going.count(file.kind) == 0 && !files_differ(one, folder_.root(), /*verify=*/true).empty())
      going.insert(file.kind);
  }
  std::erase_if(kept->files, [&](const FileEntry& file) { return going.count(file.kind) > 0; });
  return kept->files.empty() ? std::nullopt : kept;
}

/// What an earlier request of the same id left behind must not stay beside the new clip.
void Publisher::remove_outputs_but(const std::string& id, const std::vector<FileEntry>& kept) const {
  for (const std::string& path : {OutputFolder::video_path(id, job_.video.container),
                                  OutputFolder::latents_path(id), OutputFolder::frames_path(id)}) {
    const bool keep = std::any_of(kept.begin(), kept.end(), [&](const FileEntry& file) {
      return file.path == path || file.path.starts_with(path + "/");
    });
    if (keep) continue;
    std::error_code error;
    fs::remove_all(folder_.root() / path, error);
    if (error) fail("cannot remove the old ", (folder_.root() / path).string(), ": ", error.message());
  }
}

/// The old sample, whichever replica spooled it. (One in a shard stays there, and no record points to it.)
void Publisher::remove_spooled_but(const std::string& id, const std::vector<FileEntry>& kept) const {
  std::vector<std::string> ignored;
  const auto old = read_record(folder_.record(id), ignored);
  if (!old) return;
  for (const FileEntry& file : old->files) {
    const bool keep = std::any_of(kept.begin(), kept.end(),
                                  [&](const FileEntry& entry) { return entry.path == file.path; });
    std::error_code error;
    if (!keep && file.path.starts_with("hdf5/spool/")) fs::remove(folder_.root() / file.path, error);
  }
}

/// From here on the item is not done; what is kept of it is, for whoever asks for no more.
void Publisher::take_back_record(const std::string& id, const std::optional<ItemRecord>& kept) const {
  const fs::path path = folder_.record(id);
  if (kept) return work_.write_file(path, to_text(*kept));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    fail("cannot replace ", path.string(), ": ", std::strerror(errno));
  sync_path(path.parent_path());
}

void Publisher::deliver(const Delivery& delivery) {
  const Item& item = *delivery.item;
  const Timer timer;
  make_parent(work_.path("x"));
  const auto made = encode(delivery);
  ItemRecord record;
  record.done = true;
  record.id = item.id;
  record.request_hash = item.request_hash;
  record.request = request_of(resolved_, item);
  record.run = facts_.run;
  record.attempts = delivery.attempts;
  for (const auto& [from, to] : made) {
    const auto entries = entries_of(from, to, kind_of(to));
    record.files.insert(record.files.end(), entries.begin(), entries.end());
  }
  record.more = describe(item);
  nlohmann::json times = nlohmann::json::object();
  nlohmann::json sent = nlohmann::json::object();
  for (const StageTime& time : delivery.clip.times) {
    times[time.stage] = time.seconds;
    if (time.bytes_sent > 0 || time.waited > 0)
      sent[time.stage] = {{"bytes", time.bytes_sent}, {"waited", time.waited}};
  }
  times["writing"] = timer.seconds();
  record.more["times"] = std::move(times);
  if (!sent.empty()) record.more["communication"] = std::move(sent);  // of the rank that writes, by stage
  record.more["seconds"] = delivery.seconds;
  record.more["started"] = delivery.started;
  record.more["finished"] = utc_now();
  record.more["warnings"] = delivery.clip.warnings;
  if (!delivery.memory.is_null()) record.more["memory"] = delivery.memory;
  if (delivery.clip.continued_from > 0) {
    record.more["continued_from_step"] = delivery.clip.continued_from;
    record.more["legs"] = delivery.legs;  // `seconds` and `times` are of the last one alone
  }
  const std::optional<ItemRecord> kept = still_good(item);  // reads files: not under the lock

  const FolderLock lock(folder_);
  if (!claims_.is_mine(item.id)) {
    log_warning("item ", item.id, " was taken over while this process stood still; its clip is not kept");
    std::error_code ignored;
    for (const auto& [from, to] : made)
      fs::remove_all(from, ignored);
    return;
  }
  if (kept) {
    std::vector<std::string> ignored;
    const auto now = read_record(folder_.record(item.id), ignored);
    for (const FileEntry& file : kept->files) {
      // A sample may have moved from the spool to a shard meanwhile.
      const FileEntry* entry = &file;
      for (const FileEntry& current : now ? now->files : kept->files) {
        if (file.kind == "hdf5" && current.kind == "hdf5") entry = &current;
      }
      record.files.push_back(*entry);
    }
  }
  remove_spooled_but(item.id, record.files);
  take_back_record(item.id, kept);
  remove_outputs_but(item.id, record.files);
  for (const auto& [from, to] : made)
    move_into_place(from, to);
  work_.write_file(folder_.record(item.id), to_text(record));
  claims_.forget_deaths(item.id);
  events_.add("item_done", {{"id", item.id}, {"seconds", delivery.seconds}, {"attempts", delivery.attempts}});
  remove_checkpoint(folder_, item.id);
  claims_.release_locked(item.id);
  ++spooled_;
}

void Publisher::fail_item(const Item& item, const std::string& error, int64_t attempts,
                          const nlohmann::json& memory) {
  ItemRecord record;
  record.id = item.id;
  record.request_hash = item.request_hash;
  record.request = request_of(resolved_, item);
  record.run = facts_.run;
  record.attempts = attempts;
  record.error = error;
  record.more = describe(item);
  record.more["finished"] = utc_now();
  if (!memory.is_null()) record.more["memory"] = memory;
  make_parent(work_.path("x"));
  const FolderLock lock(folder_);
  if (!claims_.is_mine(item.id)) return;
  work_.write_file(folder_.record(item.id), to_text(record));
  claims_.forget_deaths(item.id);
  events_.add("item_failed", {{"id", item.id}, {"error", error}, {"attempts", attempts}});
  remove_checkpoint(folder_, item.id);
  claims_.release_locked(item.id);
}

}  // namespace rushes
