#include "jobs/status.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/log.h"
#include "jobs/events.h"
#include "jobs/record.h"

namespace rushes {
namespace {

constexpr size_t kMostFailuresShown = 10;

}  // namespace

void StatusReader::LatestRun::take(const nlohmann::json& event) {
  const auto text = [&](const char* key) {
    const auto at = event.find(key);
    return at != event.end() && at->is_string() ? at->get<std::string>() : std::string();
  };
  const std::string name = text("event");
  const double time = seconds_of(text("time"));
  if (name == "run_started") {
    LatestRun next;
    next.stops = std::move(stops);
    *this = std::move(next);
    const auto limit = event.find("limit");
    const bool limited = limit != event.end() && limit->is_number() && limit->get<double>() > 0;
    if (limited) stops[text("run")] = time + limit->get<double>();
  }
  if (name == "item_started" && first_start == 0) first_start = time;
  if (name == "item_done") {
    done.push_back(text("id"));
    last_done = time;
  }
  if (name == "run_ended") {
    ended =
        str("run ended with exit code ", event.value("code", nlohmann::json()).dump(), " at ", text("time"));
  }
}

StatusReader::StatusReader(const std::filesystem::path& root)
    : folder_(OutputFolder::open(root)), watch_(folder_.owners()) {}

StatusReport StatusReader::look() {
  StatusReport report;
  std::map<std::string, double> flops;
  std::vector<std::string> broken;
  const auto manifest = read_manifest(folder_);
  if (const std::string fresh = unfinished_fresh_run(folder_).name; fresh != fresh_) {
    fresh_ = fresh;
    settled_.clear();
  }
  for (const ManifestItem& item : manifest) {
    flops[item.id] = item.flops;
    auto known = settled_.find(item.id);
    if (known == settled_.end()) {
      const auto record = read_record(folder_.record(item.id), broken);
      if (record && record->run >= fresh_) {  // runs are named by the time they began
        known = settled_.emplace(item.id, record->done ? "" : record->error).first;
      }
    }
    if (known == settled_.end()) {
      report.view.left_flops += item.flops;
      continue;
    }
    ++(known->second.empty() ? report.view.done : report.view.failed);
    if (!known->second.empty()) report.failures.emplace_back(item.id, known->second);
  }
  // A failed item may be tried again, a done one made afresh: next time the records are read anew for those.
  std::erase_if(settled_, [](const auto& entry) { return !entry.second.empty(); });
  report.view.total = static_cast<int64_t>(manifest.size());

  for (OwnerStatus& owner : read_owners(folder_)) {
    if (watch_.is_dead(owner.token)) {
      report.dead.push_back(owner.token);
    } else {
      report.view.owners.push_back(std::move(owner));
    }
  }
  report.running = !report.view.owners.empty();
  events_read_ = read_events(folder_.events(), events_read_,
                             [this](const nlohmann::json& event) { latest_.take(event); });
  const double until = report.running ? seconds_of(utc_now()) : latest_.last_done;
  const double took = until - latest_.first_start;
  if (!latest_.done.empty() && took > 0) {
    report.clips_per_hour = 3600.0 * static_cast<double>(latest_.done.size()) / took;
    const double done_flops = std::accumulate(latest_.done.begin(), latest_.done.end(), 0.0,
                                              [&](double sum, const std::string& id) {
                                                const auto at = flops.find(id);
                                                return sum + (at == flops.end() ? 0 : at->second);
                                              });
    report.view.flops_per_second = report.running ? done_flops / took : 0;
  }
  for (const OwnerStatus& owner : report.view.owners) {
    const auto stop = latest_.stops.find(owner.run);
    double& first = report.view.stop_at;
    if (stop != latest_.stops.end()) first = first > 0 ? std::min(first, stop->second) : stop->second;
  }
  report.last_event = latest_.ended;
  return report;
}

std::string status_text(const StatusReport& report, const std::filesystem::path& root, size_t columns) {
  std::vector<std::string> lines;
  const ProgressView& view = report.view;
  std::set<std::string> in_work;
  for (const OwnerStatus& owner : view.owners) {
    if (!owner.item.empty()) in_work.insert(owner.item);
  }
  const int64_t running = static_cast<int64_t>(in_work.size());
  lines.push_back(str(root.string(), ": ", view.total, " items: ", view.done, " done, ", view.failed,
                      " failed, ", running, " running, ",
                      std::max<int64_t>(0, view.total - view.done - view.failed - running), " to do"));
  for (const OwnerStatus& owner : view.owners)
    lines.push_back("  " + owner_line(owner, columns - 2));
  for (const std::string& owner : report.dead) {
    lines.push_back("  dead: " + owner + " (the next run takes over what it left)");
  }
  if (report.clips_per_hour > 0) {
    char rate[64];
    snprintf(rate, sizeof rate, "%.1f clips an hour", report.clips_per_hour);
    lines.push_back(rate + (view.eta() > 0 ? ", about " + short_time(view.eta()) + " left" : std::string()));
  }
  if (const auto left = view.time_left()) {
    const bool short_of = view.eta() > *left;
    lines.push_back(str("time limit in ", short_time(*left),
                        short_of ? "; the next run goes on with what is left then" : ""));
  }
  for (size_t i = 0; i < report.failures.size() && i < kMostFailuresShown; ++i) {
    const std::string& error = report.failures[i].second;
    lines.push_back(str("  failed: ", report.failures[i].first, ": ", error.substr(0, error.find('\n'))));
  }
  if (report.failures.size() > kMostFailuresShown) {
    lines.push_back(str("  and ", report.failures.size() - kMostFailuresShown, " more failed items"));
  }
  if (!report.running)
    lines.push_back(report.last_event.empty() ? "nobody works on it"
                                              : "nobody works on it; the last " + report.last_event);
  return without_controls(join(lines, "\n") + "\n");
}

}  // namespace rushes
