#include "models/schedulers/unipc_plan.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace rushes {
namespace {

/// One noise level. The scalars are float32 ATen scalars, because that is what they are in diffusers.
struct Level {
  at::Tensor alpha, sigma, lambda;
};

Level level_at(const UniPcConfig& config, const at::Tensor& sigmas, int64_t index) {
  Level level;
  const at::Tensor sigma = sigmas[index];
  if (config.use_flow_sigmas) {
    level.alpha = sigma.neg().add(1);
    level.sigma = sigma;
  } else {
    level.alpha = sigma.pow(2).add(1).pow(0.5).reciprocal();
    level.sigma = sigma.mul(level.alpha);
  }
  level.lambda = level.alpha.log().sub(level.sigma.log());
  return level;
}

/// The weights of the differences: R rho = b (the paper's eq. 12), R[i][k] = r_k^i.
std::vector<float> solve_rho(const std::vector<at::Tensor>& r, const at::Tensor& hh, const at::Tensor& b_h,
                             int64_t order, int64_t unknowns) {
  const at::Tensor stacked = at::stack(r);
  std::vector<at::Tensor> rows, b;
  at::Tensor phi = hh.expm1().div(hh).sub(1);
  int64_t factorial = 1;
  for (int64_t i = 1; i <= order; ++i) {
    rows.push_back(stacked.pow(i - 1));
    b.push_back(phi.mul(factorial).div(b_h));
    factorial *= i + 1;
    phi = phi.div(hh).sub(1.0 / static_cast<double>(factorial));
  }
  const at::Tensor left = at::stack(rows).narrow(0, 0, unknowns).narrow(1, 0, unknowns);
  const at::Tensor right = at::stack(b).narrow(0, 0, unknowns);
  at::Tensor rho;
  try {
    rho = at::linalg_solve(left, right).contiguous();
  } catch (const c10::LinAlgError&) {
    return std::vector<float>(static_cast<size_t>(unknowns), NAN);
  }
  const float* data = rho.const_data_ptr<float>();
  return {data, data + unknowns};
}

/// From level `from` to level `to`; the older outputs lie at from - 1, from - 2, ...
UniPcUpdate update(const UniPcConfig& config, const at::Tensor& sigmas, int64_t from, int64_t order,
                   bool corrector) {
  const Level t = level_at(config, sigmas, from + 1);
  const Level s0 = level_at(config, sigmas, from);
  const at::Tensor h = t.lambda.sub(s0.lambda);
  std::vector<at::Tensor> r;
  for (int64_t i = 1; i < order; ++i)
    r.push_back(level_at(config, sigmas, from - i).lambda.sub(s0.lambda).div(h));
  UniPcUpdate result;
  for (const at::Tensor& value : r)
    result.r.push_back(value.item<float>());
  r.push_back(at::ones({}, at::kFloat));

  const at::Tensor hh = config.predict_x0 ? h.neg() : h;
  const at::Tensor expm1 = hh.expm1();
  const at::Tensor b_h = config.bh1 ? hh : expm1;
  // With one unknown the solution is close to 1/2, and the reference takes that.
  const int64_t unknowns = corrector ? order : order - 1;
  if (unknowns == 1)
    result.rho = {0.5F};
  else if (unknowns > 1)
    result.rho = solve_rho(r, hh, b_h, order, unknowns);

  const at::Tensor& kept = config.predict_x0 ? t.sigma : t.alpha;
  const at::Tensor& kept_before = config.predict_x0 ? s0.sigma : s0.alpha;
  const at::Tensor& moved = config.predict_x0 ? t.alpha : t.sigma;
  result.sample_factor = kept.div(kept_before).item<float>();
  result.model_factor = moved.mul(expm1).item<float>();
  result.difference_factor = moved.mul(b_h).item<float>();
  return result;
}

bool finite(const UniPcUpdate& update) {
  // An infinite r only makes its difference vanish.
  return std::isfinite(update.sample_factor) && std::isfinite(update.model_factor) &&
         std::isfinite(update.difference_factor) &&
         std::all_of(update.r.begin(), update.r.end(), [](float r) { return r != 0 && !std::isnan(r); }) &&
         std::all_of(update.rho.begin(), update.rho.end(), [](float rho) { return std::isfinite(rho); });
}

[[noreturn]] void fail_step(const UniPcConfig& config, int64_t step, int64_t steps) {
  fail("scheduler: step ", step + 1, " of ", steps, " of UniPCMultistepScheduler has no finite result with ",
       "final_sigmas_type '", config.final_sigma_zero ? "zero" : "sigma_min", "', solver_type '",
       config.bh1 ? "bh1" : "bh2", "', predict_x0 ", config.predict_x0 ? "true" : "false",
       ", lower_order_final ", config.lower_order_final ? "true" : "false", " and solver_order ",
       config.solver_order,
       "; use final_sigmas_type 'sigma_min' or solver_type 'bh2' with predict_x0 and lower_order_final true, "
       "and no more steps than the schedule has noise levels");
}

}  // namespace

std::vector<UniPcStep> plan_unipc(const UniPcConfig& config, const UniPcSchedule& schedule) {
  const int64_t steps = schedule.timesteps.size(0);
  std::vector<UniPcStep> plan;
  for (int64_t i = 0; i < steps; ++i) {
    UniPcStep step;
    const Level level = level_at(config, schedule.sigmas, i);
    step.alpha = level.alpha.item<float>();
    step.sigma = level.sigma.item<float>();
    step.order = config.lower_order_final ? std::min(config.solver_order, steps - i) : config.solver_order;
    step.order = std::min(step.order, i + 1);  // no more outputs are there
    const auto& off = config.disable_corrector;
    step.correct = i > 0 && std::find(off.begin(), off.end(), i - 1) == off.end();
    // The corrector goes over the step before once more, now with the output at its end.
    if (step.correct)
      step.corrector = update(config, schedule.sigmas, i - 1, plan.back().order, /*corrector=*/true);
    step.predictor = update(config, schedule.sigmas, i, step.order, /*corrector=*/false);
    if ((step.correct && !finite(step.corrector)) || !finite(step.predictor)) fail_step(config, i, steps);
    plan.push_back(std::move(step));
  }
  return plan;
}

}  // namespace rushes
