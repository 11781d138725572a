#include "jobs/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/env.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/timer.h"
#include "jobs/events.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

size_t terminal_columns() {
  const std::string text = env(EnvVar::columns);
  const bool number =
      !text.empty() && text.size() < 5 && text.find_first_not_of("0123456789") == std::string::npos;
  return number ? std::clamp<size_t>(std::stoul(text), 40, 300) : 100;
}

std::string fixed(double value, int digits) {
  char text[64];
  snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// At most `width` bytes, not cut inside a character.
std::string cut(const std::string& text, size_t width) {
  if (text.size() <= width) return text;
  size_t end = width;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;
  return text.substr(0, end);
}

}  // namespace

std::string manifest_text(const std::vector<ManifestItem>& items) {
  nlohmann::json list = nlohmann::json::array();
  for (const ManifestItem& item : items)
    list.push_back({item.id, item.flops, item.min_ssim ? nlohmann::json(*item.min_ssim) : nlohmann::json()});
  return nlohmann::json{{"items", std::move(list)}}.dump() + "\n";
}

std::vector<ManifestItem> read_manifest(const OutputFolder& folder) {
  const nlohmann::json json = read_json_object(folder.manifest(), uint64_t{1} << 30);
  std::vector<ManifestItem> items;
  try {
    for (const auto& row : json.at("items")) {
      ManifestItem item{.id = row.at(0).get<std::string>(), .flops = row.at(1).get<double>()};
      item.knows_min_ssim = row.size() > 2;
      if (row.size() > 2 && row[2].is_number()) item.min_ssim = row[2].get<double>();
      items.push_back(std::move(item));
    }
  } catch (const nlohmann::json::exception&) {
    items.clear();
  }
  return items;
}

double ProgressView::eta() const {
  if (done + failed >= total) return 0;
  if (flops_per_second <= 0) return -1;
  return left_flops / flops_per_second;
}

std::optional<double> ProgressView::time_left() const {
  if (stop_at <= 0) return {};
  return std::max(0.0, stop_at - seconds_of(utc_now()));
}

std::string short_time(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e12)));
  if (whole < 60) return str(whole, " s");
  const auto two = [](int64_t n) { return str(n < 10 ? "0" : "", n); };
  if (whole < 3600) return str(whole / 60, " min ", two(whole % 60), " s");
  return str(whole / 3600, " h ", two(whole / 60 % 60), " min");
}

std::string owner_line(const OwnerStatus& owner, size_t columns) {
  const auto id = OwnerId::parse(owner.token);
  // Without the digits of the kernel, which tell people nothing.
  const std::string host = id ? id->host.substr(0, id->host.rfind('-')) : owner.token;
  std::string line =
      str("rank ", owner.rank, owner.world > 1 ? str(" of ", owner.world) : "", " on ", host, "  ");
  if (owner.item.empty()) {
    line += owner.writing.empty() ? "waiting" : "writing " + owner.writing;
    return cut(line, columns);
  }
  std::string right = "  " + (owner.stage.empty() ? "starting" : owner.stage);
  if (owner.steps > 0) right += str(" ", owner.step, "/", owner.steps);
  if (owner.seconds_per_step > 0) right += str("  ", fixed(owner.seconds_per_step, 2), " s/step");
  const size_t room = columns > line.size() + right.size() ? columns - line.size() - right.size() : 8;
  return cut(line + cut(owner.item, room) + right, columns);
}

std::string total_line(const ProgressView& view) {
  std::string line = str(view.done, " of ", view.total, " done");
  if (view.failed > 0) line += str(", ", view.failed, " failed");
  const double eta = view.eta();
  if (eta > 0) line += ", about " + short_time(eta) + " left";
  if (const auto limit = view.time_left(); limit && eta > *limit)
    line += ", " + short_time(*limit) + " before the time limit";
  return line;
}

std::string draw(const ProgressView& view, size_t columns, size_t lines) {
  std::vector<std::string> rows;
  for (const OwnerStatus& owner : view.owners) {
    if (!owner.item.empty() || !owner.writing.empty()) rows.push_back(owner_line(owner, columns));
  }
  if (rows.size() + 1 > lines) {
    const size_t hidden = rows.size() + 2 - lines;
    rows.resize(rows.size() - hidden);
    rows.push_back(str("and ", hidden, " more ranks"));
  }
  rows.push_back(total_line(view));
  return join(rows, "\n") + "\n";
}

std::vector<OwnerStatus> read_owners(const OutputFolder& folder) {
  std::vector<OwnerStatus> owners;
  std::error_code error;
  for (fs::directory_iterator at(folder.owners(), error), end; !error && at != end; at.increment(error)) {
    if (auto status = read_owner_status(at->path())) owners.push_back(std::move(*status));
  }
  std::sort(owners.begin(), owners.end(), [](const OwnerStatus& a, const OwnerStatus& b) {
    return std::tie(a.run, a.rank, a.token) < std::tie(b.run, b.rank, b.token);
  });
  return owners;
}

Progress::Progress(const OutputFolder& folder, std::vector<ManifestItem> items, ProgressView view,
                   uint64_t offset, MetricsFile* metrics)
    : folder_(folder),
      view_(std::move(view)),
      metrics_(metrics),
      live_(env(EnvVar::terminal) == "1" || isatty(STDERR_FILENO) == 1),
      columns_(terminal_columns()),
      offset_(offset) {
  for (const ManifestItem& item : items)
    flops_[item.id] = item.flops;
  thread_ = std::thread([this] { follow(); });
}

Progress::~Progress() {
  ending_ = true;
  thread_.join();
  if (live_) log_live("");
}

void Progress::follow() {
  while (true) {
    const bool last = ending_;
    const Timer timer;
    try {
      offset_ =
          read_events(folder_.events(), offset_, [this](const nlohmann::json& event) { take_event(event); });
      if (live_ && !last) redraw();
      if (metrics_ != nullptr && !last) metrics_->update(view_.done, view_.failed, view_.total);
    } catch (const std::bad_alloc&) {
      // A clip in the making has it all for a moment: what is shown waits.
    }
    if (last) return;
    // With many owners looking takes long: then look less often.
    const double nap = std::max(0.5, 10 * timer.seconds());
    for (double slept = 0; slept < nap && !ending_; slept += 0.05) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

void Progress::take_event(const nlohmann::json& event) {
  const auto text = [&](const char* key) {
    const auto at = event.find(key);
    return at != event.end() && at->is_string() ? at->get<std::string>() : std::string();
  };
  if (metrics_ != nullptr) metrics_->take_event(event);
  const std::string name = text("event");
  const std::string id = text("id");
  const double time = seconds_of(text("time"));
  if (name == "item_started" && first_start_ == 0) first_start_ = time;
  if (name != "item_done" && name != "item_failed") return;
  const auto at = flops_.find(id);
  if (at == flops_.end()) return;  // of another job on the same folder, or told already
  view_.left_flops = std::max(0.0, view_.left_flops - at->second);
  done_flops_ += at->second;
  flops_.erase(at);
  if (time > first_start_ && first_start_ > 0) view_.flops_per_second = done_flops_ / (time - first_start_);
  ++(name == "item_done" ? view_.done : view_.failed);
  const auto seconds = event.find("seconds");
  const std::string took = seconds != event.end() && seconds->is_number()
                               ? str(" in ", fixed(seconds->get<double>(), 1), " s")
                               : "";
  log_info(name == "item_done" ? "done " : "failed ", id, took, " (", total_line(view_), ")");
}

void Progress::redraw() {
  view_.owners = read_owners(folder_);
  log_live(draw(view_, columns_ - 1, 16));
}

}  // namespace rushes
