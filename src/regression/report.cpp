#include "regression/report.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"

namespace rushes {
namespace {

using nlohmann::ordered_json;

/// JSON has no infinity: null is the PSNR of equal frames.
ordered_json finite(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

ordered_json metrics_json(const ClipMetrics& metrics) {
  ordered_json frames = {
      {"ssim", ordered_json::array()}, {"ms_ssim", ordered_json::array()}, {"psnr", ordered_json::array()}};
  for (const FrameMetrics& frame : metrics.frames) {
    frames["ssim"].push_back(frame.ssim);
    frames["ms_ssim"].push_back(frame.ms_ssim);
    frames["psnr"].push_back(finite(frame.psnr()));
  }
  return {{"ssim", {{"mean", metrics.mean_ssim()}, {"worst", metrics.worst_ssim()}}},
          {"ms_ssim", {{"mean", metrics.mean_ms_ssim()}, {"worst", metrics.worst_ms_ssim()}}},
          {"psnr", {{"mean", finite(metrics.mean_psnr())}, {"worst", finite(metrics.worst_psnr())}}},
          {"worst_frame", metrics.worst_frame()},
          {"frames", std::move(frames)}};
}

ordered_json clip_json(const ClipComparison& clip) {
  ordered_json out = {{"id", clip.id},
                      {"verdict", verdict_word(clip.verdict)},
                      {"passed", clip.verdict == Verdict::passed},
                      {"reason", clip.reason},
                      {"prompt", clip.prompt},
                      {"key", clip.key},
                      {"min_ssim", clip.min_ssim},
                      {"min_ssim_from", clip.min_ssim_from},
                      {"compared", clip.pictures},
                      {"lossless", clip.lossless}};
  if (clip.compared()) out["metrics"] = metrics_json(clip.metrics);
  out["pictures_equal"] = clip.pictures_equal;
  out["video_bytes_equal"] = clip.video_equal ? ordered_json(*clip.video_equal) : ordered_json(nullptr);
  out["latents_equal"] = clip.latents ? ordered_json(clip.latents->equal) : ordered_json(nullptr);
  out["latents_cosine"] = clip.latents ? ordered_json(clip.latents->cosine) : ordered_json(nullptr);
  out["changed"] = ordered_json::array();
  for (const Change& change : clip.changes)
    out["changed"].push_back({{"key", change.key}, {"before", change.before}, {"now", change.now}});
  out["reference"] = {{"blessed", clip.reference_blessed}, {"build", clip.reference_build}};
  return out;
}

}  // namespace

ordered_json report_json(const Comparison& comparison) {
  ordered_json out = {{"schema", "rushes.regression/1"}, {"time", comparison.time},
                      {"passed", comparison.passed()},   {"summary", summary(comparison)},
                      {"output", comparison.output},     {"references", comparison.references},
                      {"build", comparison.build},       {"run", comparison.run}};
  out["clips"] = ordered_json::array();
  for (const ClipComparison& clip : comparison.clips)
    out["clips"].push_back(clip_json(clip));
  return out;
}

std::string report_junit(const Comparison& comparison) {
  const auto failures = static_cast<int64_t>(comparison.clips.size()) - comparison.count(Verdict::passed);
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  const std::string counts =
      str("tests=\"", comparison.clips.size(), "\" failures=\"", failures, "\" errors=\"0\" skipped=\"0\"");
  xml += str("<testsuites name=\"rushes\" ", counts, ">\n  <testsuite name=\"rushes regression\" ", counts,
             " timestamp=\"", escaped(comparison.time.substr(0, 19)), "\">\n");
  for (const ClipComparison& clip : comparison.clips) {
    const std::string name = clip.key.empty() ? "clip" : clip.key;
    xml += str("    <testcase classname=\"", escaped(name), "\" name=\"", escaped(clip.id), "\" time=\"0\"");
    if (clip.verdict == Verdict::passed) {
      xml += "/>\n";
      continue;
    }
    xml += str(">\n      <failure type=\"", escaped(verdict_word(clip.verdict)), "\" message=\"",
               escaped(clip.reason), "\">");
    for (const Change& change : clip.changes)
      xml += escaped(str(change.key, ": ", change.before, ", now ", change.now, "\n"));
    xml += "</failure>\n    </testcase>\n";
  }
  return xml + "  </testsuite>\n</testsuites>\n";
}

void make_report_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    fail("cannot make the folder ", folder.string(), ": ", error.message(), "; move what is there away");
  for (const char* name : {"report.json", "junit.xml", "summary.txt", "index.html"}) {
    if (std::filesystem::is_directory(folder / name, error))
      fail((folder / name).string(), " is a folder; move it away: the report belongs there");
  }
}

void write_report(const std::filesystem::path& folder, const Comparison& comparison,
                  const std::vector<Night>& nights) {
  make_report_folder(folder);
  const std::string owner = str("report-", ::getpid());
  const auto replace = ordered_json::error_handler_t::replace;
  write_file_atomic(folder / "report.json", report_json(comparison).dump(2, ' ', false, replace) + "\n",
                    owner);
  write_file_atomic(folder / "junit.xml", report_junit(comparison), owner);
  write_file_atomic(folder / "summary.txt", summary(comparison) + "\n", owner);
  write_file_atomic(folder / "index.html", report_html(comparison, nights), owner);
}

std::string escaped(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
    }
  }
  return out;
}

std::string fill_template(const std::string& text,
                          const std::vector<std::pair<std::string, std::string>>& values) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find("{{", at);
    if (open == std::string::npos) return out + text.substr(at);
    const bool raw = text.compare(open, 3, "{{{") == 0;
    const size_t start = open + (raw ? 3 : 2);
    const size_t close = text.find(raw ? "}}}" : "}}", start);
    RUSHES_CHECK(close != std::string::npos, "a name without an end");
    const std::string name = text.substr(start, close - start);
    const auto value =
        std::find_if(values.begin(), values.end(), [&](const auto& pair) { return pair.first == name; });
    RUSHES_CHECK(value != values.end(), "the template asks for ", name);
    out += text.substr(at, open - at);
    out += raw ? value->second : escaped(value->second);
    at = close + (raw ? 3 : 2);
  }
  return out;
}

}  // namespace rushes
