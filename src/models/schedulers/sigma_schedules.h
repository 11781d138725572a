#pragma once
// Noise levels as the schedulers of diffusers 0.42 lay them out: in float64, rounded where numpy rounds, so
// that the float32 sigmas come out equal.

#include <cstdint>
#include <string>
#include <vector>

namespace rushes {

/// numpy.linspace(start, stop, count): count values, the last exactly `stop` (count 1: `start`).
std::vector<double> linspace(double start, double stop, int64_t count);

/// s -> shift * s / (1 + (shift - 1) * s).
void apply_shift(std::vector<double>& sigmas, double shift);

/// Stretches 1 - sigma so that the last sigma is `terminal`. The first sigma alone (1) can't be stretched:
/// gives NaN.
void stretch_to_terminal(std::vector<double>& sigmas, double terminal);

/// How `count` sigmas lie between a largest and a smallest one.
enum class SigmaSpacing { as_is, karras, exponential, beta };

/// The one spacing that the three switches of a scheduler config ask for; `clash` is set where they are more.
SigmaSpacing sigma_spacing(bool karras, bool exponential, bool beta, bool& clash);

/// `count` sigmas from `largest` down to `smallest`.
///  karras: (max^(1/7) + r (min^(1/7) - max^(1/7)))^7 (Karras et al. 2022, eq. 5, rho = 7)
///  exponential: even in log sigma
///  beta: quantiles of Beta(0.6, 0.6) (Lee et al. 2024, "Beta Sampling is All You Need")
std::vector<double> spaced_sigmas(SigmaSpacing spacing, double largest, double smallest, int64_t count);

/// The x with I_x(a, b) = p: the quantile function of the beta distribution, to about 1e-15 absolute.
double beta_quantile(double p, double a, double b);

}  // namespace rushes
