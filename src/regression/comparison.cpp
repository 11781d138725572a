#include "regression/comparison.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "base/error.h"
#include "base/version.h"
#include "regression/clip_pictures.h"
#include "regression/strips.h"

namespace rushes {
namespace {

using nlohmann::json;

constexpr size_t kShownValue = 80;

std::string shown(const json& value) {
  std::string text = value.is_string() ? value.get<std::string>()
                                       : value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() <= kShownValue) return text;
  size_t cut = kShownValue - 3;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80)  // between characters
    --cut;
  return text.substr(0, cut) + "...";
}

/// What of a record can explain a difference: the request key by key, and the circumstances.
std::map<std::string, std::string> settings_of(const ClipFiles& clip) {
  std::map<std::string, std::string> settings;
  if (!clip.record.is_object()) return settings;
  if (const auto request = clip.record.find("request");
      request != clip.record.end() && request->is_object()) {
    for (const auto& [key, value] : request->items())
      if (key != "build") settings[key == "model" ? "weights" : key] = shown(value);
  }
  for (const char* key : {"code", "layout", "device", "threads"}) {
    if (const auto at = clip.record.find(key); at != clip.record.end()) settings[key] = shown(*at);
  }
  return settings;
}

std::vector<Change> changes_between(const ClipFiles& before, const ClipFiles& now) {
  const auto old = settings_of(before), fresh = settings_of(now);
  std::set<std::string> keys;
  for (const auto* settings : {&old, &fresh}) {
    for (const auto& [key, value] : *settings)
      keys.insert(key);
  }
  const auto value_in = [](const std::map<std::string, std::string>& settings, const std::string& key) {
    const auto at = settings.find(key);
    return at == settings.end() ? std::string("nothing") : at->second;
  };
  std::vector<Change> changes;
  for (const std::string& key : keys) {
    if (value_in(old, key) != value_in(fresh, key))
      changes.push_back({key, value_in(old, key), value_in(fresh, key)});
  }
  return changes;
}

/// Of which files both have pictures: frames in both, else videos in both, else what there is.
std::pair<PictureSource, PictureSource> sources(const ClipFiles& clip, const ClipFiles& reference) {
  if (clip.has("frames") && reference.has("frames")) return {PictureSource::frames, PictureSource::frames};
  if (clip.has("video") && reference.has("video")) return {PictureSource::video, PictureSource::video};
  const auto any = [](const ClipFiles& files) {
    return files.has("frames") ? PictureSource::frames : PictureSource::video;
  };
  return {any(clip), any(reference)};
}

void compare_pictures(const ClipFiles& clip, const ClipFiles& reference, ClipComparison& result) {
  const auto [mine, theirs] = sources(clip, reference);
  result.lossless = mine == PictureSource::frames && theirs == PictureSource::frames;
  result.pictures = mine == theirs ? std::string(source_name(mine))
                                   : str(source_name(mine), " beside the reference's ", source_name(theirs));
  const std::string broken = damage(reference, theirs == PictureSource::frames ? "frames" : "video");
  if (!broken.empty()) fail("the reference is damaged: ", broken, "; put it right, or bless the clip again");
  const Frames now = load_pictures(clip, mine), before = load_pictures(reference, theirs);
  if (now.height != before.height || now.width != before.width) {
    result.verdict = Verdict::other_size;
    result.reason =
        str("is ", now.width, "x", now.height, ", its reference ", before.width, "x", before.height);
    return;
  }
  result.metrics = compare_frames(now, before);
  result.pictures_equal = now.count == before.count && now.rgb == before.rgb;
  result.strips = make_strips(before, now, result.metrics);
  if (now.count != before.count) {
    result.verdict = Verdict::other_length;
    result.reason = str("has ", now.count, " frames, its reference ", before.count);
  }
}

std::string four_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

ClipComparison without_clip(const std::string& id, const std::string& key, Verdict verdict,
                            std::string reason) {
  ClipComparison result;
  result.id = id;
  result.key = key;
  result.verdict = verdict;
  result.reason = std::move(reason);
  return result;
}

void judge(ClipComparison& result) {
  if (result.verdict != Verdict::passed) return;
  if (result.metrics.worst_ssim() >= result.min_ssim) return;
  result.verdict = Verdict::fell_short;
  const auto short_of = [&](const FrameMetrics& frame) { return frame.ssim < result.min_ssim; };
  result.reason =
      str("SSIM ", four_digits(result.metrics.worst_ssim()), " in frame ", result.metrics.worst_frame(),
          " is below ", result.min_ssim, " (",
          std::count_if(result.metrics.frames.begin(), result.metrics.frames.end(), short_of), " of ",
          result.metrics.frames.size(), " frames are; mean ", four_digits(result.metrics.mean_ssim()), ")");
}

/// The threshold that counts for the clip. One that cannot be known fails it: nobody may take it for passed.
void set_threshold(const ClipFiles& clip, const std::string& model, const ReferenceStore& references,
                   const Thresholds& thresholds, ClipComparison& result) {
  if (thresholds.forced) {
    result.min_ssim = *thresholds.forced;
    result.min_ssim_from = "--min-ssim";
    return;
  }
  if (clip.min_ssim) {
    result.min_ssim = *clip.min_ssim;
    result.min_ssim_from = "the prompt's own line";
    return;
  }
  result.min_ssim = thresholds.usual;
  result.min_ssim_from = thresholds.usual_from;
  try {
    if (const std::optional<double> of_model = references.model_min_ssim(model)) {
      result.min_ssim = *of_model;
      result.min_ssim_from = str(model, "/model.json");
    }
  } catch (const UserError& error) {
    if (result.verdict != Verdict::passed) return;
    result.verdict = Verdict::unreadable;
    result.reason = str("its threshold is not known: ", error.what());
  }
}

ClipComparison one_of(const ClipFiles& clip, const ReferenceKey& key, const ReferenceStore& references,
                      const Thresholds& thresholds) {
  std::optional<Reference> reference;
  try {
    reference = references.find(key, clip.id);
  } catch (const UserError& error) {
    return without_clip(clip.id, key.folder(), Verdict::unreadable, error.what());
  }
  ClipComparison result;
  if (!clip.done) {
    result = without_clip(clip.id, key.folder(), Verdict::not_made,
                          clip.error.empty() ? "was not made" : "was not made: " + clip.error);
  } else if (!reference) {
    result = without_clip(clip.id, key.folder(), Verdict::extra,
                          str("has no reference in ", key.folder(), "; rushes bless makes one"));
  } else {
    result = compare_clip(clip, reference->clip);
    result.key = key.folder();
  }
  result.prompt = clip.text("prompt");
  set_threshold(clip, key.model, references, thresholds, result);
  if (reference) {
    result.reference_blessed = reference->blessed;
    result.reference_build = reference->clip.text("code");
  }
  judge(result);
  return result;
}

}  // namespace

const char* verdict_word(Verdict verdict) {
  switch (verdict) {
    case Verdict::passed:
      return "passed";
    case Verdict::fell_short:
      return "fell short";
    case Verdict::missing:
      return "missing";
    case Verdict::extra:
      return "no reference";
    case Verdict::not_made:
      return "not made";
    case Verdict::other_length:
      return "other length";
    case Verdict::other_size:
      return "other size";
    case Verdict::unreadable:
      return "unreadable";
  }
  return "?";
}

int64_t Comparison::count(Verdict verdict) const {
  return std::count_if(clips.begin(), clips.end(),
                       [&](const ClipComparison& clip) { return clip.verdict == verdict; });
}

bool Comparison::passed() const {
  return count(Verdict::passed) == static_cast<int64_t>(clips.size());
}

ClipComparison compare_clip(const ClipFiles& clip, const ClipFiles& reference) {
  ClipComparison result;
  result.id = clip.id;
  result.prompt = clip.text("prompt");
  result.changes = changes_between(reference, clip);
  try {
    compare_pictures(clip, reference, result);
    if (clip.has("video") && reference.has("video"))
      result.video_equal = same_bytes(clip, reference, "video");
    if (result.verdict == Verdict::passed && clip.has("latents") && reference.has("latents"))
      result.latents = compare_latents(clip, reference);
  } catch (const UserError& error) {
    result.verdict = Verdict::unreadable;
    result.reason = error.what();
  }
  return result;
}

Comparison compare_clips(const std::vector<ClipFiles>& clips, const ReferenceStore& references,
                         const Thresholds& thresholds, const std::function<bool()>& stopped) {
  Comparison all;
  all.references = references.root().string();
  all.build = version_text();
  std::map<std::string, ReferenceKey> keys;
  std::set<std::string> ids;
  for (const ClipFiles& clip : clips) {
    if (stopped && stopped()) throw StoppedEarly("stopped while comparing");
    all.run = std::max(all.run, clip.text("run"));
    ids.insert(clip.id);
    if (!clip.record.is_object()) {
      all.clips.push_back(without_clip(clip.id, "", Verdict::not_made, "was not made"));
      continue;
    }
    ReferenceKey key;
    try {
      key = key_of(clip);
    } catch (const UserError& error) {  // nobody knows which reference is its own
      all.clips.push_back(without_clip(clip.id, "", Verdict::unreadable, error.what()));
      continue;
    }
    keys.emplace(key.folder(), key);
    all.clips.push_back(one_of(clip, key, references, thresholds));
  }
  for (const auto& [folder, key] : keys) {
    for (const std::string& id : references.ids(key)) {
      if (ids.count(id) == 0)
        all.clips.push_back(
            without_clip(id, folder, Verdict::missing, "has a reference, but the output has no such clip"));
    }
  }
  if (all.clips.empty()) fail("there is nothing to compare: the output has no clips");
  return all;
}

std::string summary(const Comparison& comparison) {
  const ClipComparison* worst = nullptr;
  for (const ClipComparison& clip : comparison.clips) {
    if (clip.compared() && (worst == nullptr || clip.metrics.worst_ssim() < worst->metrics.worst_ssim()))
      worst = &clip;
  }
  const std::string least = worst == nullptr
                                ? std::string()
                                : str("; worst SSIM ", four_digits(worst->metrics.worst_ssim()), " (",
                                      worst->id, ", frame ", worst->metrics.worst_frame(), ")");
  const auto clips = comparison.clips.size();
  if (comparison.passed()) return str("regression passed: ", clips, clips == 1 ? " clip" : " clips", least);
  std::vector<std::string> parts;
  for (const Verdict verdict : {Verdict::fell_short, Verdict::missing, Verdict::extra, Verdict::not_made,
                                Verdict::other_length, Verdict::other_size, Verdict::unreadable}) {
    if (comparison.count(verdict) > 0)
      parts.push_back(str(comparison.count(verdict), " ", verdict_word(verdict)));
  }
  // Of those that fell short the worst; else the first that is not as it should be.
  auto first = std::find_if(
      comparison.clips.begin(), comparison.clips.end(),
      [&](const ClipComparison& clip) { return &clip == worst && clip.verdict != Verdict::passed; });
  if (first == comparison.clips.end())
    first = std::find_if(comparison.clips.begin(), comparison.clips.end(),
                         [](const ClipComparison& clip) { return clip.verdict != Verdict::passed; });
  return str("regression FELL SHORT: of ", clips, clips == 1 ? " clip " : " clips ", join(parts, ", "), "; ",
             first->id, " ", first->reason.substr(0, first->reason.find('\n')), least);
}

}  // namespace rushes
