#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "regression/report.h"

namespace rushes {
namespace {

const char* const kPage =
#include "report.html.inc"
    ;
const char* const kClip =
#include "report_clip.html.inc"
    ;

/// Another build alone is what every night has.
bool settings_changed(const ClipComparison& clip) {
  return std::any_of(clip.changes.begin(), clip.changes.end(),
                     [](const Change& change) { return change.key != "code"; });
}

std::string number(double value, int digits) {
  if (std::isinf(value)) return "∞";
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// Where a value lies between low (bottom) and high (top) of a drawing.
struct Scale {
  double low;
  double high;
  double top;
  double bottom;
  double at(double value) const {
    const double clamped = std::clamp(value, low, high);
    return bottom - (clamped - low) / (high - low) * (bottom - top);
  }
};

/// From a little below the least of the values to 1, so that small losses show.
Scale ssim_scale(double least, double top, double bottom) {
  const double low = 1 - std::max(1e-4, (1 - least) * 1.15);
  return {low, 1, top, bottom};
}

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return str("<text x=\"", number(x, 1), "\" y=\"", number(y, 1), "\" text-anchor=\"", anchor, "\">",
             escaped(text), "</text>");
}

std::string level_line(double x, double y, double end, const char* kind) {
  return str("<line class=\"", kind, "\" x1=\"", number(x, 1), "\" y1=\"", number(y, 1), "\" x2=\"",
             number(end, 1), "\" y2=\"", number(y, 1), "\"/>");
}

/// Values over their places as a line, a dot where `mark` is.
std::string plotted(const std::vector<std::pair<double, double>>& points) {
  std::string path;
  for (const auto& [x, y] : points)
    path += str(path.empty() ? "" : " ", number(x, 1), ",", number(y, 1));
  return str("<polyline class=\"line\" points=\"", path, "\"/>");
}

std::string dot(double x, double y, bool good, const std::string& title, double radius) {
  return str("<circle class=\"", good ? "good" : "bad", "\" cx=\"", number(x, 1), "\" cy=\"", number(y, 1),
             "\" r=\"", number(radius, 1), "\"><title>", escaped(title), "</title></circle>");
}

/// SSIM of each frame, the threshold, and the worst frame.
std::string curve(const ClipComparison& clip) {
  constexpr double kLeft = 70, kRight = 628, kTop = 12, kBottom = 118;
  const ClipMetrics& metrics = clip.metrics;
  const Scale scale = ssim_scale(std::min(metrics.worst_ssim(), clip.min_ssim), kTop, kBottom);
  const size_t count = metrics.frames.size();
  const auto x_of = [&](size_t frame) {
    return count == 1
               ? (kLeft + kRight) / 2
               : kLeft + (kRight - kLeft) * static_cast<double>(frame) / static_cast<double>(count - 1);
  };
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < count; ++i)
    points.emplace_back(x_of(i), scale.at(metrics.frames[i].ssim));
  const auto worst = static_cast<size_t>(metrics.worst_frame());
  std::string svg = str(
      "<svg class=\"curve\" viewBox=\"0 0 640 140\" role=\"img\" aria-label=\"SSIM of each frame\">",
      level_line(kLeft, kTop, kRight, "axis"), level_line(kLeft, kBottom, kRight, "axis"),
      text_at(kLeft - 6, kTop + 4, "end", "1"), text_at(kLeft - 6, kBottom + 4, "end", number(scale.low, 4)));
  svg += level_line(kLeft, scale.at(clip.min_ssim), kRight, "limit") +
         // Above the line, or below it where there is no room above.
         text_at(kRight, scale.at(clip.min_ssim) + (scale.at(clip.min_ssim) < kTop + 16 ? 16 : -4), "end",
                 "needed " + number(clip.min_ssim, 4));
  if (count > 1) svg += plotted(points);
  svg += dot(points[worst].first, points[worst].second, metrics.worst_ssim() >= clip.min_ssim,
             str("frame ", worst, ": ", number(metrics.worst_ssim(), 6)), 4);
  svg += text_at(kLeft, 135, "start", "frame 0") + text_at(kRight, 135, "end", str("frame ", count - 1));
  return svg + "</svg>";
}

/// The worst SSIM of a night for some clips, night after night.
std::string trend(const std::vector<Night>& nights, const std::vector<std::string>& names, bool small) {
  const double width = small ? 120 : 640, height = small ? 28 : 150;
  const double left = small ? 3 : 70, right = small ? 117 : 628, top = small ? 4 : 12,
               bottom = small ? 24 : 118;
  std::vector<std::pair<const Night*, double>> values;
  for (const Night& night : nights) {
    if (const auto worst = night.worst(names)) values.emplace_back(&night, *worst);
  }
  if (values.size() < 2) return {};
  double least = 1;
  for (const auto& value : values)
    least = std::min(least, value.second);
  const Scale scale = ssim_scale(least, top, bottom);
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < values.size(); ++i) {
    points.emplace_back(
        left + (right - left) * static_cast<double>(i) / static_cast<double>(values.size() - 1),
        scale.at(values[i].second));
  }
  std::string svg = str("<svg class=\"", small ? "spark" : "curve", "\" viewBox=\"0 0 ", width, " ", height,
                        "\" role=\"img\" aria-label=\"worst SSIM over the nights\">");
  if (!small) {
    svg += level_line(left, top, right, "axis") + level_line(left, bottom, right, "axis") +
           text_at(left - 6, top + 4, "end", "1") +
           text_at(left - 6, bottom + 4, "end", number(scale.low, 4)) +
           text_at(left, 138, "start", values.front().first->time.substr(0, 10)) +
           text_at(right, 138, "end", values.back().first->time.substr(0, 10));
  }
  svg += plotted(points);
  for (size_t i = 0; i < values.size(); ++i) {
    const Night& night = *values[i].first;
    bool good = night.passed;
    if (small) {
      const auto at = night.clips.find(names.front());
      good = at != night.clips.end() && at->second.verdict == verdict_word(Verdict::passed);
    }
    if (small && i + 1 < values.size() && good) continue;
    svg += dot(points[i].first, points[i].second, good,
               str(night.time.substr(0, 16), " ", night.build, ": worst SSIM ", number(values[i].second, 6)),
               small ? 2.5 : 4);
  }
  return svg + "</svg>";
}

/// The three rows of pictures with the frames' numbers above them.
std::string strips_html(const ClipComparison& clip) {
  const Strips& strips = clip.strips;
  if (strips.frames.empty()) return {};
  std::string html = str("<div class=\"strips\"><div class=\"strip\" style=\"--n:", strips.frames.size(),
                         ";--w:", strips.width, ";--h:", strips.height, "\">");
  html += "<div class=\"numbers\">";
  for (const int64_t frame : strips.frames) {
    const bool worst = frame == clip.metrics.worst_frame() && !clip.pictures_equal;
    html +=
        str("<span", worst ? " class=\"worst\"" : "", ">frame ", frame, worst ? ", worst" : "", "</span>");
  }
  html += "</div>";
  const char* const pixelated = strips.width < 128 ? " class=\"pixelated\"" : "";
  const std::string gain = strips.gain == 1 ? "difference" : str("difference, ×", strips.gain);
  for (const auto& [name, address] :
       {std::pair<std::string, const std::string&>{"reference", strips.reference},
        {"output", strips.output},
        {gain, strips.difference}}) {
    html += str("<figure><figcaption>", name, "</figcaption><img", pixelated, " alt=\"", name, " of ",
                escaped(clip.id), "\" loading=\"lazy\" src=\"", address, "\"></figure>");
  }
  return html + "</div></div>";
}

std::string changes_html(const ClipComparison& clip) {
  if (clip.changes.empty()) return {};
  std::string html =
      "<h4>Changed since the reference</h4><table "
      "class=\"changes\"><tr><th>setting</th><th>reference</th><th>now</th></tr>";
  for (const Change& change : clip.changes) {
    html += str("<tr><td>", escaped(change.key), "</td><td>", escaped(change.before), "</td><td>",
                escaped(change.now), "</td></tr>");
  }
  return html + "</table>";
}

std::string figure(const std::string& name, const std::string& value, const std::string& second) {
  return str("<div><dt>", name, "</dt><dd>", value, second.empty() ? "" : " <small>" + second + "</small>",
             "</dd></div>");
}

std::string figures_html(const ClipComparison& clip) {
  std::string html = "<dl class=\"figures\">";
  if (clip.compared()) {
    const ClipMetrics& m = clip.metrics;
    html += figure("SSIM, worst frame", number(m.worst_ssim(), 5), "mean " + number(m.mean_ssim(), 5));
    html += figure("MS-SSIM", number(m.worst_ms_ssim(), 5), "mean " + number(m.mean_ms_ssim(), 5));
    html += figure("PSNR", number(m.worst_psnr(), 2) + " dB", "mean " + number(m.mean_psnr(), 2) + " dB");
  }
  if (clip.latents)
    html += figure("Latents", clip.latents->equal ? "bit-equal" : "cosine " + number(clip.latents->cosine, 8),
                   "");
  if (clip.compared())
    html += figure("Pictures", clip.pictures_equal ? "bit-equal" : "differ", escaped(clip.pictures));
  if (clip.video_equal) html += figure("Video file", *clip.video_equal ? "byte-equal" : "other bytes", "");
  if (clip.min_ssim_from.empty()) return html + "</dl>";
  return html + figure("Needed", number(clip.min_ssim, 4), "from " + escaped(clip.min_ssim_from)) + "</dl>";
}

std::string reference_text(const ClipComparison& clip) {
  if (clip.reference_blessed.empty()) return {};
  return str("Reference blessed ", clip.reference_blessed, ", made by ", clip.reference_build, "; ",
             clip.key);
}

std::string clip_html(const ClipComparison& clip, const std::vector<Night>& nights) {
  const bool passed = clip.verdict == Verdict::passed;
  // Sorted by: what failed first, then the lowest SSIM.
  const double worst = clip.compared() ? clip.metrics.worst_ssim() : -2;
  return fill_template(kClip, {{"id", clip.id},
                               {"prompt", clip.prompt},
                               {"state", passed ? "good" : "bad"},
                               {"open", passed ? "" : " open"},
                               {"changed", settings_changed(clip) ? "yes" : "no"},
                               {"equal", clip.pictures_equal ? "yes" : "no"},
                               {"worst", number(worst, 9)},
                               {"mean", number(clip.compared() ? clip.metrics.mean_ssim() : -2, 9)},
                               {"verdict", verdict_word(clip.verdict)},
                               {"ssim", !clip.compared()      ? "–"
                                        : clip.pictures_equal ? "equal"
                                                              : number(worst, 4)},
                               {"reason", clip.reason},
                               {"spark", trend(nights, {history_name(clip)}, /*small=*/true)},
                               {"strips", strips_html(clip)},
                               {"curve", clip.compared() ? "<h4>SSIM of each frame</h4>" + curve(clip) : ""},
                               {"figures", figures_html(clip)},
                               {"changes", changes_html(clip)},
                               {"reference", reference_text(clip)}});
}

std::string nights_html(const Comparison& comparison, const std::vector<Night>& nights) {
  std::vector<std::string> names;
  for (const ClipComparison& clip : comparison.clips)
    names.push_back(history_name(clip));
  const std::string svg = trend(nights, names, /*small=*/false);
  if (svg.empty())
    return "<p class=\"quiet\">This is the first comparison with these references; the trend begins with the "
           "next.</p>";
  return svg;
}

}  // namespace

std::string report_html(const Comparison& comparison, const std::vector<Night>& nights) {
  std::vector<const ClipComparison*> order;
  for (const ClipComparison& clip : comparison.clips)
    order.push_back(&clip);
  std::stable_sort(order.begin(), order.end(), [](const ClipComparison* a, const ClipComparison* b) {
    const bool bad_a = a->verdict != Verdict::passed, bad_b = b->verdict != Verdict::passed;
    if (bad_a != bad_b) return bad_a;
    if (a->compared() != b->compared()) return !a->compared();
    return a->compared() && a->metrics.worst_ssim() < b->metrics.worst_ssim();
  });
  std::string clips;
  for (const ClipComparison* clip : order)
    clips += clip_html(*clip, nights);
  const auto all = static_cast<int64_t>(comparison.clips.size());
  const int64_t good = comparison.count(Verdict::passed);
  const auto equal = std::count_if(comparison.clips.begin(), comparison.clips.end(),
                                   [](const ClipComparison& clip) { return clip.pictures_equal; });
  const auto changed = std::count_if(comparison.clips.begin(), comparison.clips.end(), settings_changed);
  return fill_template(
      kPage, {{"title", str(comparison.passed() ? "passed" : "FELL SHORT", ": ", comparison.output)},
              {"state", comparison.passed() ? "good" : "bad"},
              {"verdict", comparison.passed() ? "Regression passed" : "Regression fell short"},
              {"summary", summary(comparison)},
              {"all", str(all)},
              {"good", str(good)},
              {"bad", str(all - good)},
              {"equal", str(equal)},
              {"changed", str(changed)},
              {"output", comparison.output},
              {"references", comparison.references},
              {"build", comparison.build},
              {"time", comparison.time},
              {"nights", nights_html(comparison, nights)},
              {"clips", clips}});
}

}  // namespace rushes
