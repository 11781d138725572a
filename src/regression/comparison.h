#pragma once
// Clips beside their references: numbers, a verdict each, and why.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "media/metrics.h"
#include "regression/references.h"

namespace rushes {

enum class Verdict {
  passed,
  fell_short,    // a frame's SSIM is below the threshold
  missing,       // a reference without a clip
  extra,         // a clip without a reference
  not_made,      // the item failed or was not tried yet
  other_length,  // fewer or more frames than the reference
  other_size,    // height or width differ
  unreadable,    // a file of the clip or of its reference is broken
};
const char* verdict_word(Verdict verdict);  // "passed", "fell short", ...

/// A setting that is not as it was when the reference was made.
struct Change {
  std::string key;
  std::string before;
  std::string now;
};

/// Reference, output and difference of some frames, each a row of pictures side by side.
struct Strips {
  std::vector<int64_t> frames;  // their numbers
  int64_t width = 0;            // of one picture in the row
  int64_t height = 0;
  int64_t gain = 1;  // what differences are multiplied by to be seen
  // As "data:" addresses of PNG or JPEG files; "" where there is none.
  std::string reference, output, difference;
};

struct ClipComparison {
  std::string id;
  std::string prompt;
  std::string key;  // ReferenceKey::folder()
  Verdict verdict = Verdict::passed;
  std::string reason;  // one line; "" where it passed
  double min_ssim = 0;
  std::string min_ssim_from;  // "the prompt's own line", "--min-ssim", ...
  std::string pictures;       // "frames (lossless)", ...: what was compared
  bool lossless = false;
  ClipMetrics metrics;  // no frames where nothing could be compared
  bool pictures_equal = false;
  std::optional<bool> video_equal;
  std::optional<LatentsBeside> latents;
  std::vector<Change> changes;
  std::string reference_blessed;  // when, UTC
  std::string reference_build;
  Strips strips;

  bool compared() const { return !metrics.frames.empty(); }
};

struct Comparison {
  std::string time;  // UTC
  std::string output;
  std::string references;
  std::string build;  // of the program that compared
  std::string run;    // the latest run among the clips
  std::vector<ClipComparison> clips;

  int64_t count(Verdict verdict) const;
  bool passed() const;
};

/// Thresholds, the strongest first: `forced` (--min-ssim), the prompt line's own, the model's (model.json
/// among the references), `usual` (the job's regression.min_ssim). Every frame of a clip must reach it.
struct Thresholds {
  std::optional<double> forced;
  double usual = 0.98;
  bool asked = false;  // `usual` is no default
  std::string usual_from = "default";
};

/// Compares every clip with its reference, and finds references without a clip. `stopped` is asked before
/// each clip; throws StoppedEarly then. Reads files only. Throws UserError where there is nothing to compare
/// at all.
Comparison compare_clips(const std::vector<ClipFiles>& clips, const ReferenceStore& references,
                         const Thresholds& thresholds, const std::function<bool()>& stopped);

/// One clip beside another one (its reference). Does not look for thresholds' sources; used for reruns too.
ClipComparison compare_clip(const ClipFiles& clip, const ClipFiles& reference);

/// "regression passed: 16 clips, worst SSIM 0.9931 (red-circle, frame 4)", or what fell short, in one line.
std::string summary(const Comparison& comparison);

}  // namespace rushes
