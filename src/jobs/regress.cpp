#include "jobs/regress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <ostream>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "config/file_names.h"
#include "config/job_file.h"
#include "config/yaml/yaml.h"
#include "dist/world.h"
#include "jobs/events.h"
#include "jobs/progress.h"
#include "jobs/record.h"
#include "regression/history.h"
#include "regression/report.h"
#include "weights/model_dir.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNightsShown = 90;
constexpr size_t kMostTold = 20;

ClipFiles clip_from(const OutputFolder& folder, const std::string& id) {
  ClipFiles clip;
  clip.id = id;
  clip.root = folder.root();
  std::vector<std::string> warnings;
  const auto record = read_record(folder.record(id), warnings);
  if (!record) {
    clip.error = warnings.empty() ? "" : warnings.front();
    return clip;
  }
  clip.done = record->done;
  clip.error = record->error;
  clip.record = parse_json(to_text(*record), folder.record(id).string());
  for (const FileEntry& file : record->files)
    clip.files.push_back({file.kind, file.path, file.bytes, file.hash});
  if (const auto own = record->more.find("min_ssim"); own != record->more.end() && own->is_number())
    clip.min_ssim = own->get<double>();
  return clip;
}

/// "2026-11-22T093000.123Z": sorts by time, and is a file name everywhere.
std::string time_name() {
  std::string time = utc_now();
  std::erase(time, ':');
  return time;
}

std::string fixed(double value, int digits) {
  if (std::isinf(value)) return "infinite";
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string beside_old(const ClipComparison& clip) {
  if (!clip.compared()) return clip.reason;
  return str("SSIM to the old one ", fixed(clip.metrics.worst_ssim(), 5), " (mean ",
             fixed(clip.metrics.mean_ssim(), 5), "), PSNR ", fixed(clip.metrics.mean_psnr(), 2), " dB",
             clip.reason.empty() ? "" : "; " + clip.reason);
}

bool unchanged(const ClipComparison& clip) {
  return clip.verdict == Verdict::passed && clip.pictures_equal && (!clip.latents || clip.latents->equal) &&
         clip.video_equal.value_or(true);
}

/// Has the clip every kind of file that its reference has, and the other way round?
bool same_kinds(const ClipFiles& a, const ClipFiles& b) {
  return a.has("frames") == b.has("frames") && a.has("video") == b.has("video") &&
         a.has("latents") == b.has("latents");
}

/// A clip that is to be blessed, as far as nothing is changed yet.
struct Blessing {
  std::string id;
  ReferenceKey key;
  std::string said;                         // the line that says what happens
  nlohmann::json note;                      // for blessings.jsonl
  std::unique_ptr<StagedReference> staged;  // nothing: the reference is kept as it is
};

Blessing prepare_blessing(const ReferenceStore& store, const ClipFiles& clip, const std::string& time) {
  Blessing blessing{clip.id, key_of(clip), "new", {}, nullptr};
  std::optional<Reference> old;
  try {
    old = store.find(blessing.key, clip.id);
  } catch (const UserError& error) {
    blessing.said = str("replaces one that cannot be read (", error.what(), ")");
  }
  nlohmann::json& note = blessing.note;
  note = {{"time", time}, {"id", clip.id}, {"build", clip.text("code")}, {"run", clip.text("run")}};
  if (old) {
    const ClipComparison beside = compare_clip(clip, old->clip);
    const bool whole = damage(old->clip, "video").empty() && damage(old->clip, "latents").empty();
    if (unchanged(beside) && same_kinds(clip, old->clip) && whole) {
      blessing.said = "unchanged (bit-equal); kept as it is";
      return blessing;
    }
    blessing.said = "replaced: " + beside_old(beside);
    note["before"] = {{"blessed", old->blessed}, {"build", old->clip.text("code")}};
    if (beside.compared()) {
      note["before"]["worst_ssim"] = beside.metrics.worst_ssim();
      note["before"]["mean_ssim"] = beside.metrics.mean_ssim();
    }
    for (const Change& change : beside.changes)
      blessing.said += str("\n    ", change.key, ": ", change.before, ", now ", change.now);
  }
  blessing.staged = store.stage(blessing.key, clip, time);
  return blessing;
}

/// What is left to do is two renames.
void carry_out(const ReferenceStore& store, Blessing& blessing, std::ostream& out) {
  if (blessing.staged) {
    // Noted first: killed in between, a line too many is left, and never a change that nobody knows of.
    store.note_blessing(blessing.key, blessing.note);
    blessing.staged->put();
    blessing.staged.reset();
  }
  out << blessing.id << ": " << blessing.said << std::endl;
}

void drop_clip(const ReferenceStore& store, const ReferenceKey& key, const std::string& id,
               const std::string& time) {
  nlohmann::json note = {{"time", time}, {"id", id}, {"dropped", true}};
  try {
    if (const auto old = store.find(key, id))
      note["before"] = {{"blessed", old->blessed}, {"build", old->clip.text("code")}};
  } catch (const UserError& error) {  // it goes all the more
    note["before"] = {{"unreadable", error.what()}};
  }
  store.note_blessing(key, note);
  store.drop(key, id);
}

/// Of all clips of the model, on any device.
void set_model_threshold(const ReferenceStore& store, const ReferenceKey& key, double value,
                         const std::string& time, std::ostream& out) {
  nlohmann::json note = {{"time", time}, {"model", key.model}, {"model_min_ssim", value}};
  std::string was;
  try {
    if (const std::optional<double> before = store.model_min_ssim(key.model)) {
      note["before"] = {{"model_min_ssim", *before}};
      was = str(", was ", *before);
    }
  } catch (const UserError& error) {
    log_warning("replaced: ", error.what());
  }
  store.note_blessing(key, note);
  store.set_model_min_ssim(key.model, value);
  out << "min_ssim of " << key.model << ": " << value << was << "\n";
}

/// In tiles for want of memory, not by the job's wish.
bool tiled_by_need(const ClipFiles& clip) {
  if (!clip.record.is_object()) return false;
  const nlohmann::json memory = clip.record.value("memory", nlohmann::json());
  const nlohmann::json request = clip.record.value("request", nlohmann::json());
  const bool tiles = memory.is_object() && memory.value("tiles", nlohmann::json()) == true;
  return tiles && !(request.is_object() && request.contains("vae_tiling"));
}

/// What is wrong with blessing these clips; nothing is changed before all of it is looked for.
void check_clips(const std::vector<ClipFiles>& clips, Problems& problems) {
  for (const ClipFiles& clip : clips) {
    if (!clip.done) {
      problems.add("clip ", clip.id, " was not made", clip.error.empty() ? "" : " (" + clip.error + ")",
                   "; run the job again, or bless others with --only ID");
      continue;
    }
    if (!clip.has("frames") && !clip.has("video")) {
      problems.add("clip ", clip.id, " has no pictures; let the job save video or frames");
      continue;
    }
    try {
      key_of(clip);
    } catch (const UserError& error) {
      problems.add(error.what(), "; run the job again with --fresh, or bless others with --only ID");
    }
    if (tiled_by_need(clip)) {
      problems.add("clip ", clip.id,
                   " was made in VAE tiles, since memory ran out: other nights have none; make it ",
                   "again with --fresh and more memory, or let both jobs say vae_tiling: on");
    }
    for (const char* kind : {"frames", "video", "latents"}) {
      if (const std::string broken = damage(clip, kind); !broken.empty())
        problems.add("clip ", clip.id, ": ", broken, "; run the job again with --verify");
    }
  }
}

/// How far clips made again lie from those made first.
struct NoiseFloor {
  int64_t pairs = 0;
  int64_t equal = 0;  // in pictures and latents
  int64_t other_pictures = 0;
  int64_t other_latents = 0;
  double least_ssim = 1;
  std::string worst_frame;  // "red-circle, frame 3"
  double distance = 0;      // the largest, of two elements of the latents
  std::string worst_latents;

  void add(const ClipComparison& beside) {
    ++pairs;
    equal += unchanged(beside) ? 1 : 0;
    if (!beside.pictures_equal && (++other_pictures == 1 || beside.metrics.worst_ssim() < least_ssim)) {
      least_ssim = beside.metrics.worst_ssim();
      worst_frame = str(beside.id, ", frame ", beside.metrics.worst_frame());
    }
    if (beside.latents && !beside.latents->equal &&
        (++other_latents == 1 || beside.latents->distance > distance)) {
      distance = beside.latents->distance;
      worst_latents = beside.id;
    }
  }

  std::string text() const {
    if (equal == pairs)
      return ": these settings repeat themselves; any min_ssim up to 1 holds here (0.999 leaves room for "
             "another machine)";
    if (other_pictures == 0)
      return str("; all pictures are equal, latents of ", other_latents, " differ (at most by ", distance,
                 " in ", worst_latents,
                 "): any min_ssim up to 1 holds here (0.999 leaves room for another machine)");
    // Twice the loss that was seen: the next rerun may be a little worse than those that were.
    const double holds = std::floor((1 - 2 * (1 - least_ssim)) * 1e4) / 1e4;
    return str("; lowest SSIM of a frame ", fixed(least_ssim, 6), " (", worst_frame, "): min_ssim ",
               fixed(holds, 4), " can be held (twice the loss seen)");
  }
};

}  // namespace

std::vector<ClipFiles> clips_of_output(const fs::path& output) {
  const OutputFolder folder = OutputFolder::open(output);
  std::vector<ClipFiles> clips;
  for (const ManifestItem& item : read_manifest(folder)) {
    if (const std::string problem = id_problem(item.id); !problem.empty())
      fail(folder.manifest().string(), ": id: ", problem, "; run the job again to have the file made anew");
    clips.push_back(clip_from(folder, item.id));
    // A prompt line may have another number since the clip was made.
    if (item.knows_min_ssim) clips.back().min_ssim = item.min_ssim;
  }
  return clips;
}

std::vector<ClipFiles> clips_of_job(const ResolvedJob& job) {
  const OutputFolder folder = OutputFolder::view(job.job.output);
  std::vector<ClipFiles> clips;
  for (const Item& item : job.items) {
    clips.push_back(clip_from(folder, item.id));
    clips.back().min_ssim = item.min_ssim;
  }
  return clips;
}

Thresholds thresholds_of_output(const fs::path& output) {
  Thresholds thresholds;
  const fs::path path = output / "job.yaml";
  const auto by_default = [&](const std::string& why) {
    log_warning(why, ", so the default ", thresholds.usual, " counts where prompts and model say nothing",
                " (--min-ssim gives another)");
    return thresholds;
  };
  std::error_code error;
  if (fs::status(path, error).type() == fs::file_type::not_found)
    return by_default(str("there is no ", path.string()));
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading(path.string(), problems, sources);
  Regression regression;
  try {
    // This section alone: the rest may be of a version that knows other keys.
    const Value document = read_yaml(path);
    if (document.kind != Value::Kind::mapping) reading.problem(document.line, "", "this is no job file");
    if (const Entry* section = document.find("regression"))
      read_fields(regression_fields(), regression, section->value, "regression.", reading);
  } catch (const UserError& broken) {
    for (const std::string& problem : broken.problems())
      problems.add(problem);
  }
  if (!problems.empty())
    problems.add("so the threshold of ", output.string(),
                 " is not known; put its job.yaml right (a rerun of the job does), or give --min-ssim X");
  problems.throw_if_any();
  if (sources.count("regression.min_ssim") == 0)
    return by_default(path.string() + " has no regression.min_ssim");
  thresholds.usual = regression.min_ssim;
  thresholds.usual_from = "regression.min_ssim of the job";
  return thresholds;
}

Thresholds thresholds_of(const ResolvedJob& job) {
  Thresholds thresholds;
  thresholds.usual = job.job.regression.min_ssim;
  thresholds.usual_from = "regression.min_ssim of the job";
  for (const SettingRow& row : job.job.settings) {
    if (row.key != "regression.min_ssim") continue;
    if (row.source == "--set") thresholds.forced = thresholds.usual;
    thresholds.asked = row.source != "default";
  }
  return thresholds;
}

/// The model's own threshold counts more than the job's; where it asks for less, that is told.
void warn_of_lower_thresholds(const Comparison& comparison, const Thresholds& thresholds) {
  std::map<std::string, double> lower;
  for (const ClipComparison& clip : comparison.clips) {
    if (clip.min_ssim_from.ends_with("/model.json") && clip.min_ssim < thresholds.usual)
      lower.emplace(clip.min_ssim_from, clip.min_ssim);
  }
  for (const auto& [from, least] : lower) {
    if (thresholds.asked)
      log_warning("min_ssim is ", least, " by ", from, ", less than the job's ", thresholds.usual,
                  "; --set regression.min_ssim=... counts more than either");
  }
}

Comparison compare_output(const fs::path& output, const std::vector<ClipFiles>& clips,
                          const fs::path& references, const Thresholds& thresholds,
                          const std::function<bool()>& stopped) {
  const ReferenceStore store(references);
  std::error_code error;
  if (!fs::is_directory(references, error))
    fail("--references: no folder ", references.string(),
         " here; rushes bless OUTPUT --references DIR makes one");
  make_report_folder(output / "report");
  Comparison comparison = compare_clips(clips, store, thresholds, stopped);
  warn_of_lower_thresholds(comparison, thresholds);
  comparison.output = output.string();
  comparison.time = utc_now();
  try {
    note_in_history(store, comparison);
  } catch (const UserError& problem) {
    log_warning("this comparison is missing from the history: ", problem.what());
  }
  write_report(output / "report", comparison, read_history(store, kNightsShown));
  size_t told = 0;
  for (const ClipComparison& clip : comparison.clips) {
    if (clip.verdict == Verdict::passed) continue;
    if (++told <= kMostTold)
      log_warning("clip ", clip.id, ": ", verdict_word(clip.verdict), ": ", clip.reason);
  }
  if (told > kMostTold) log_warning("and ", told - kMostTold, " more clips; see the report");
  log_info("report: ", (output / "report" / "index.html").string());
  if (comparison.passed()) {
    log_info(summary(comparison));
  } else {
    log_error(summary(comparison));
  }
  return comparison;
}

int compare_command_work(const fs::path& output, const fs::path& references, std::optional<double> min_ssim) {
  const std::vector<ClipFiles> clips = clips_of_output(output);
  // What --min-ssim says counts most: then nobody needs the job's.
  Thresholds thresholds;
  if (min_ssim) {
    thresholds.forced = min_ssim;
  } else {
    thresholds = thresholds_of_output(output);
  }
  const Comparison comparison = compare_output(output, clips, references, thresholds, nullptr);
  return comparison.passed() ? kExitDone : kExitRegressed;
}

void bless(const BlessRequest& request, std::ostream& out) {
  std::vector<ClipFiles> clips = clips_of_output(request.output);
  Problems problems;
  for (const std::string& id : request.only) {
    if (std::none_of(clips.begin(), clips.end(), [&](const ClipFiles& clip) { return clip.id == id; }))
      problems.add("--only ", id, ": ", request.output.string(), " has no such clip");
  }
  if (!request.only.empty()) {
    std::erase_if(clips, [&](const ClipFiles& clip) {
      return std::find(request.only.begin(), request.only.end(), clip.id) == request.only.end();
    });
  }
  check_clips(clips, problems);
  try {
    if (request.upload) export_target(*request.upload);
  } catch (const UserError& error) {
    problems.add("--upload: ", error.what());
  }
  if (clips.empty() && problems.empty()) problems.add(request.output.string(), " has no clips");
  problems.throw_if_any();

  const ReferenceStore store(request.references);
  const std::string time = time_name();
  std::map<std::string, ReferenceKey> keys;
  std::set<std::string> ids;
  std::vector<Blessing> blessings;
  for (const ClipFiles& clip : clips) {
    keys.emplace(key_of(clip).folder(), key_of(clip));
    ids.insert(clip.id);
  }
  for (const auto& [folder, key] : keys) {  // what can be refused is, before anything is changed
    store.ids(key);
    store.require_places(key, request.model_min_ssim.has_value());
  }
  for (const ClipFiles& clip : clips)
    blessings.push_back(prepare_blessing(store, clip, time));
  for (Blessing& blessing : blessings)
    carry_out(store, blessing, out);
  for (const auto& [folder, key] : keys) {
    if (request.model_min_ssim) set_model_threshold(store, key, *request.model_min_ssim, time, out);
    if (!request.only.empty()) continue;
    for (const std::string& id : store.ids(key)) {
      if (ids.count(id) > 0) continue;
      if (request.drop_missing) drop_clip(store, key, id, time);
      out << id << ": "
          << (request.drop_missing ? "dropped" : "kept, though the output has no such clip (--drop-missing)")
          << "\n";
    }
    out << "references: " << (request.references / folder).string() << "\n";
  }
  if (!request.upload) return;
  try {
    store.export_to(*request.upload);
  } catch (const UserError& error) {
    fail("--upload: ", error.what(), "; the clips are blessed, only this folder was not made");
  }
  out << "to upload: " << request.upload->string() << "\n";
}

void check_references(const ResolvedJob& job, Problems& problems) {
  const std::string& root = job.job.regression.references;
  const std::string make =
      "; make them: run the job with --set job=generate, then rushes bless OUTPUT --references " +
      (root.empty() ? "DIR" : root);
  if (root.empty()) {
    problems.add("regression.references: missing; job: regress needs the folder of the references", make);
    return;
  }
  const ReferenceStore store(root);
  const ReferenceKey key{reference_model_name(job.job.model), job.facts.device,
                         dtype_name(job.facts.transformer), job.facts.attention};
  try {
    if (!store.ids(key).empty()) return;
    const std::vector<std::string> there = store.keys();
    problems.add("regression.references: ", root, " has none for ", key.folder(),
                 there.empty() ? "" : "; it has " + join(there, ", "), make);
  } catch (const UserError& error) {
    problems.add("regression.references: ", error.what());
  }
}

void tell_noise_floor(const std::vector<fs::path>& folders, std::ostream& out) {
  const std::vector<ClipFiles> first = clips_of_output(folders.front());
  NoiseFloor floor;
  for (size_t i = 1; i < folders.size(); ++i) {
    for (const ClipFiles& clip : clips_of_output(folders[i])) {
      const auto other =
          std::find_if(first.begin(), first.end(), [&](const auto& one) { return one.id == clip.id; });
      if (other == first.end() || !clip.done || !other->done)
        fail("clip ", clip.id, " was not made each time");
      const ClipComparison beside = compare_clip(clip, *other);
      if (beside.verdict != Verdict::passed)
        fail("clip ", clip.id, " of ", folders[i].string(), ": ", beside.reason);
      floor.add(beside);
    }
  }
  out << "noise floor: " << folders.size() - 1 << (folders.size() == 2 ? " rerun" : " reruns") << ", "
      << floor.equal << " of " << floor.pairs << " clips bit-equal" << floor.text() << "\n";
}

}  // namespace rushes
