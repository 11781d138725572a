#include "planner/report.h"

#include <cstdio>

namespace rushes {
namespace {

/// Three digits, and no more than that after the point.
std::string three(double value) {
  char text[32];
  std::snprintf(text, sizeof text,
                value >= 100  ? "%.0f"
                : value >= 10 ? "%.1f"
                : value >= 1  ? "%.2f"
                              : "%.3f",
                value);
  return text;
}

std::string gib(double bytes) {
  return three(bytes / (1 << 30));
}

std::string sent(double bytes) {
  if (bytes == 0) return "-";
  return bytes >= 1 << 30 ? gib(bytes) + " GiB" : three(bytes / (1 << 20)) + " MiB";
}

}  // namespace

std::vector<std::vector<std::string>> candidate_rows(const PlanAnswer& answer) {
  std::vector<std::vector<std::string>> rows = {
      {" ", "dp", "cfg", "ulysses", "ring", "dit_tp", "tp", "vae", "s/clip", "clips/hour", "GiB a rank",
       "weights", "activations", "vae peak", "sent in node", "sent to others"}};
  for (size_t i = 0; i < answer.best.size(); ++i) {
    const Candidate& c = answer.best[i];
    rows.push_back({i == 0 ? "*" : " ", str(c.plan.dp()), str(c.plan.cfg()), str(c.plan.ulysses()),
                    str(c.plan.ring()), str(c.plan.dit_tp()), str(c.plan.tp()), str(c.plan.vae()),
                    three(c.clip_seconds), three(c.clips_per_hour), gib(c.worst.memory_bytes),
                    gib(c.worst.weight_bytes), gib(c.worst.activation_bytes), gib(c.worst.vae_bytes),
                    sent(c.worst.node_bytes), sent(c.worst.network_bytes)});
  }
  return rows;
}

std::vector<std::string> reason_lines(const PlanAnswer& answer) {
  std::vector<std::string> lines;
  if (!answer.best.empty()) lines.push_back("chosen: " + answer.why);
  for (const Refusal& refusal : answer.refused) {
    lines.push_back(
        str("left out: ", refusal.layouts > 1 ? str(refusal.layouts, " layouts, ") : "", refusal.reason));
  }
  return lines;
}

std::string stage_times(const Candidate& candidate) {
  std::vector<std::string> parts;
  for (const StageTime& stage : candidate.worst.stages)
    parts.push_back(str(stage.stage, " ", three(stage.seconds), " s"));
  return join(parts, ", ");
}

}  // namespace rushes
