#include "jobs/time_limit.h"

#include <algorithm>
#include <charconv>

#include "base/env.h"

namespace rushes {
namespace {

constexpr double kReserve = 0.05, kMostReserve = 60;  // to end in order: share of the time, seconds
constexpr double kMargin = 1.1;                       // clips of one size take that much longer at times
constexpr double kWorthAStart = 0.1;                  // of a clip that is gone on with later

}  // namespace

std::optional<double> end_time() {
  const std::string text = env(EnvVar::end_time);
  if (text.empty()) return {};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0 && value < 1e12))
    fail("RUSHES_END_TIME is '", text, "'; give seconds since 1970, as `date +%s` does");
  return value;
}

TimeLimit::TimeLimit(double seconds, StopToken& stop) : set_(true) {
  const double reserve = std::min(kMostReserve, std::max(0.0, seconds) * kReserve);
  const std::chrono::duration<double> usable(std::max(0.0, seconds - reserve));
  stop_at_ = std::chrono::steady_clock::now() +
             std::chrono::duration_cast<std::chrono::steady_clock::duration>(usable);
  stop.request_at(stop_at_);
}

double TimeLimit::left() const {
  return std::chrono::duration<double>(stop_at_ - std::chrono::steady_clock::now()).count();
}

void TimeLimit::learn(double flops, double seconds) {
  flops_ += flops;
  seconds_ += seconds;
}

bool TimeLimit::fits(double flops, bool continues) const {
  if (!set_ || flops_ <= 0) return true;
  const double needed = flops * seconds_ / flops_;
  return needed * (continues ? kWorthAStart : kMargin) <= left();
}

}  // namespace rushes
