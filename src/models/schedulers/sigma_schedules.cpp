#include "models/schedulers/sigma_schedules.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace rushes {
namespace {

/// The continued fraction of the incomplete beta function (DLMF 8.17.22) by the modified Lentz method; quick
/// for x < (a + 1) / (a + b + 2).
double beta_fraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double v) { return std::fabs(v) < kTiny ? kTiny : v; };
  double c = 1.0;
  double d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
  double value = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1.0 / away_from_zero(1.0 + even * d);
    c = away_from_zero(1.0 + even / c);
    value *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1.0 / away_from_zero(1.0 + odd * d);
    c = away_from_zero(1.0 + odd / c);
    value *= d * c;
    if (std::fabs(d * c - 1.0) < std::numeric_limits<double>::epsilon()) break;
  }
  return value;
}

/// The regularised incomplete beta function I_x(a, b).
double beta_cdf(double x, double a, double b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double log_front =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  if (x < (a + 1) / (a + b + 2)) return std::exp(log_front) * beta_fraction(x, a, b) / a;
  return 1.0 - std::exp(log_front) * beta_fraction(1.0 - x, b, a) / b;
}

}  // namespace

std::vector<double> linspace(double start, double stop, int64_t count) {
  std::vector<double> values(static_cast<size_t>(count), start);
  if (count < 2) return values;
  const double delta = stop - start;
  const double step = delta / static_cast<double>(count - 1);
  for (int64_t i = 0; i < count; ++i)
    values[static_cast<size_t>(i)] = static_cast<double>(i) * step + start;
  values.back() = stop;
  return values;
}

void apply_shift(std::vector<double>& sigmas, double shift) {
  for (double& s : sigmas)
    s = shift * s / (1 + (shift - 1) * s);
}

void stretch_to_terminal(std::vector<double>& sigmas, double terminal) {
  const double scale = (1 - sigmas.back()) / (1 - terminal);
  for (double& s : sigmas)
    s = 1 - (1 - s) / scale;
}

SigmaSpacing sigma_spacing(bool karras, bool exponential, bool beta, bool& clash) {
  clash = int{karras} + int{exponential} + int{beta} > 1;
  if (karras) return SigmaSpacing::karras;
  if (exponential) return SigmaSpacing::exponential;
  return beta ? SigmaSpacing::beta : SigmaSpacing::as_is;
}

std::vector<double> spaced_sigmas(SigmaSpacing spacing, double largest, double smallest, int64_t count) {
  std::vector<double> sigmas;
  if (spacing == SigmaSpacing::karras) {
    constexpr double kRho = 7.0;
    const double low = std::pow(smallest, 1 / kRho);
    const double high = std::pow(largest, 1 / kRho);
    for (double ramp : linspace(0, 1, count))
      sigmas.push_back(std::pow(high + ramp * (low - high), kRho));
  } else if (spacing == SigmaSpacing::exponential) {
    for (double log_sigma : linspace(std::log(largest), std::log(smallest), count))
      sigmas.push_back(std::exp(log_sigma));
  } else {
    RUSHES_CHECK(spacing == SigmaSpacing::beta, "sigmas are left as they are by the caller");
    for (double ramp : linspace(0, 1, count))
      sigmas.push_back(smallest + beta_quantile(1 - ramp, 0.6, 0.6) * (largest - smallest));
  }
  return sigmas;
}

double beta_quantile(double p, double a, double b) {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  double low = 0, high = 1;
  while (true) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high || high - low < 1e-17) return middle;
    (beta_cdf(middle, a, b) < p ? low : high) = middle;
  }
}

}  // namespace rushes
