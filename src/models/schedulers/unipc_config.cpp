#include "models/schedulers/unipc_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/quote.h"
#include "config/json_fields.h"

namespace rushes {
namespace {

void parse_noise(const nlohmann::json& config, JsonFields& fields, UniPcConfig& result) {
  result.num_train_timesteps = fields.integer("num_train_timesteps", 1000);
  fields.range("num_train_timesteps", static_cast<double>(result.num_train_timesteps), 2, 1e6);
  result.beta_start = fields.number("beta_start", 0.0001);
  result.beta_end = fields.number("beta_end", 0.02);
  fields.range("beta_start", result.beta_start, 0, 1);
  fields.range("beta_end", result.beta_end, 0, 1);
  result.beta_schedule = fields.text("beta_schedule", "linear");
  if (result.beta_schedule != "linear" && result.beta_schedule != "scaled_linear" &&
      result.beta_schedule != "squaredcos_cap_v2")
    fields.problem("beta_schedule", quote_name(result.beta_schedule),
                   " must be 'linear', 'scaled_linear' or 'squaredcos_cap_v2'");
  const auto betas = config.find("trained_betas");
  if (betas != config.end() && !betas->is_null()) {
    result.trained_betas = fields.numbers("trained_betas", {});
    if (result.trained_betas->size() < 2) fields.problem("trained_betas", "needs 2 numbers or more");
  } else {
    fields.only("trained_betas", nullptr);
  }
  result.rescale_betas_zero_snr = fields.boolean("rescale_betas_zero_snr", false);
}

void parse_sigmas(JsonFields& fields, UniPcConfig& result) {
  const bool karras = fields.boolean("use_karras_sigmas", false);
  const bool exponential = fields.boolean("use_exponential_sigmas", false);
  const bool beta = fields.boolean("use_beta_sigmas", false);
  bool clash = false;
  result.spacing = sigma_spacing(karras, exponential, beta, clash);
  if (clash)
    fields.problem("use_karras_sigmas",
                   "only one of use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas can be true");
  result.use_flow_sigmas = fields.boolean("use_flow_sigmas", false);
  result.flow_shift = fields.number("flow_shift", 1.0);
  fields.range("flow_shift", result.flow_shift, 1e-6, 1e6);
  const std::string spacing = fields.text("timestep_spacing", "linspace");
  if (spacing == "leading")
    result.timestep_spacing = TimestepSpacing::leading;
  else if (spacing == "trailing")
    result.timestep_spacing = TimestepSpacing::trailing;
  else if (spacing != "linspace")
    fields.problem("timestep_spacing", quote_name(spacing), " must be 'linspace', 'leading' or 'trailing'");
  result.steps_offset = fields.integer("steps_offset", 0);
  fields.range("steps_offset", static_cast<double>(result.steps_offset), -1e6, 1e6);
  const std::string last = fields.text("final_sigmas_type", "zero");
  result.final_sigma_zero = last != "sigma_min";
  if (last != "zero" && last != "sigma_min")
    fields.problem("final_sigmas_type", quote_name(last), " must be 'zero' or 'sigma_min'");
  result.sigma_min = fields.optional_number("sigma_min");
  result.sigma_max = fields.optional_number("sigma_max");
  for (const auto& [key, value] :
       {std::pair("sigma_min", result.sigma_min), {"sigma_max", result.sigma_max}}) {
    if (value) fields.range(key, *value, 0, 1e6);
  }
  result.shift_terminal = fields.optional_number("shift_terminal");
  if (result.shift_terminal) {
    fields.range("shift_terminal", *result.shift_terminal, 0, 0.999999);
    if (!result.use_flow_sigmas) fields.problem("shift_terminal", "is only for use_flow_sigmas: true");
  }
  if (fields.boolean("use_dynamic_shifting", false))
    fields.problem(
        "use_dynamic_shifting",
        "true is not supported: it needs a shift (mu) that depends on the picture's size, which no "
        "pipeline here gives; set it to false and give `flow_shift`");
  const std::string shift_type = fields.text("time_shift_type", "exponential");
  if (shift_type != "exponential" && shift_type != "linear")
    fields.problem("time_shift_type", quote_name(shift_type), " must be 'exponential' or 'linear'");
}

void parse_solver(JsonFields& fields, UniPcConfig& result) {
  result.solver_order = fields.integer("solver_order", 2);
  fields.range("solver_order", static_cast<double>(result.solver_order), 1, 3);
  result.predict_x0 = fields.boolean("predict_x0", true);
  const std::string prediction = fields.text("prediction_type", "epsilon");
  if (prediction == "sample")
    result.prediction_type = PredictionType::sample;
  else if (prediction == "v_prediction")
    result.prediction_type = PredictionType::v_prediction;
  else if (prediction == "flow_prediction")
    result.prediction_type = PredictionType::flow_prediction;
  else if (prediction != "epsilon")
    fields.problem("prediction_type", quote_name(prediction),
                   " must be 'epsilon', 'sample', 'v_prediction' or 'flow_prediction'");
  if (!result.predict_x0 && result.prediction_type == PredictionType::flow_prediction)
    fields.problem("predict_x0", "false can't be used with prediction_type 'flow_prediction'");
  const std::string solver = fields.text("solver_type", "bh2");
  result.bh1 = solver == "bh1";
  // The three names of other solvers mean bh2, as in diffusers.
  if (solver != "bh1" && solver != "bh2" && solver != "midpoint" && solver != "heun" && solver != "logrho")
    fields.problem("solver_type", quote_name(solver), " must be 'bh1' or 'bh2'");
  result.lower_order_final = fields.boolean("lower_order_final", true);
  result.disable_corrector = fields.integers("disable_corrector", {});
  fields.only("solver_p", nullptr);
  result.thresholding = fields.boolean("thresholding", false);
  result.dynamic_thresholding_ratio = fields.number("dynamic_thresholding_ratio", 0.995);
  fields.range("dynamic_thresholding_ratio", result.dynamic_thresholding_ratio, 0, 1);
  result.sample_max_value = fields.number("sample_max_value", 1.0);
  fields.range("sample_max_value", result.sample_max_value, 0, 1e6);
}

/// The cosine schedule of Nichol & Dhariwal 2021, eq. 17, betas capped at 0.999.
at::Tensor cosine_betas(int64_t count) {
  const auto alpha_bar = [](double t) {
    const double c = std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2);
    return c * c;
  };
  std::vector<double> betas;
  for (int64_t i = 0; i < count; ++i) {
    const double t1 = static_cast<double>(i) / static_cast<double>(count);
    const double t2 = static_cast<double>(i + 1) / static_cast<double>(count);
    betas.push_back(std::min(1 - alpha_bar(t2) / alpha_bar(t1), 0.999));
  }
  return at::tensor(betas, at::kDouble).to(at::kFloat);
}

/// Betas moved so that the last step has no signal left (Lin et al. 2023, algorithm 1).
at::Tensor zero_terminal_snr(const at::Tensor& betas) {
  at::Tensor root = betas.neg().add(1).cumprod(0).sqrt();
  const at::Tensor first = root[0].clone();
  const at::Tensor last = root[-1].clone();
  root = root.sub(last).mul(first.div(first.sub(last)));
  const at::Tensor bar = root.pow(2);
  const at::Tensor alphas = at::cat({bar.narrow(0, 0, 1), bar.slice(0, 1).div(bar.slice(0, 0, -1))});
  return alphas.neg().add(1);
}

/// sigma = sqrt((1 - alpha_bar) / alpha_bar) of every training step; float32, as diffusers keeps it.
at::Tensor training_sigmas(const UniPcConfig& config) {
  const int64_t n = config.num_train_timesteps;
  at::Tensor betas;
  if (config.trained_betas)
    betas = at::tensor(*config.trained_betas, at::kDouble).to(at::kFloat);
  else if (config.beta_schedule == "linear")
    betas = at::linspace(config.beta_start, config.beta_end, n, at::kFloat);
  else if (config.beta_schedule == "scaled_linear")
    betas =
        at::linspace(std::pow(config.beta_start, 0.5), std::pow(config.beta_end, 0.5), n, at::kFloat).pow(2);
  else
    betas = cosine_betas(n);
  if (config.rescale_betas_zero_snr) betas = zero_terminal_snr(betas);
  at::Tensor bar = betas.neg().add(1).cumprod(0);
  // Nearly none in place of no signal, so that the first sigma is finite.
  if (config.rescale_betas_zero_snr) bar[-1].fill_(std::ldexp(1.0, -24));
  return bar.neg().add(1).div(bar).pow(0.5);
}

std::vector<double> spaced_timesteps(const UniPcConfig& config, int64_t steps) {
  const int64_t train = config.num_train_timesteps;
  std::vector<double> result;
  if (config.timestep_spacing == TimestepSpacing::linspace) {
    const std::vector<double> all = linspace(0, static_cast<double>(train - 1), steps + 1);
    for (int64_t i = steps; i > 0; --i)
      result.push_back(std::nearbyint(all[static_cast<size_t>(i)]));
  } else if (config.timestep_spacing == TimestepSpacing::leading) {
    const int64_t ratio = train / (steps + 1);
    for (int64_t i = steps; i > 0; --i)
      result.push_back(static_cast<double>(i * ratio + config.steps_offset));
  } else {
    // numpy.arange(train, 0, -ratio): the spacing it uses is the difference of its first two values.
    const double start = static_cast<double>(train);
    const double ratio = start / static_cast<double>(steps);
    const auto count = static_cast<int64_t>(std::ceil(start / ratio));
    const double step = (start - ratio) - start;
    for (int64_t i = 0; i < count; ++i)
      result.push_back(std::nearbyint(start + static_cast<double>(i) * step) - 1);
  }
  return result;
}

/// The (fractional) training step whose log sigma is `sigma`'s. `logs` rises with the step.
double step_of_sigma(double sigma, const std::vector<float>& logs) {
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  // The last entry that is not above it.
  int64_t low = 0;
  for (size_t i = 0; i < logs.size(); ++i) {
    if (log_sigma - static_cast<double>(logs[i]) >= 0) low = static_cast<int64_t>(i);
  }
  low = std::min(low, static_cast<int64_t>(logs.size()) - 2);
  const float a = logs[static_cast<size_t>(low)];
  const float b = logs[static_cast<size_t>(low) + 1];
  const double w = std::clamp((static_cast<double>(a) - log_sigma) / static_cast<double>(a - b), 0.0, 1.0);
  return (1 - w) * static_cast<double>(low) + w * static_cast<double>(low + 1);
}

struct Levels {
  std::vector<double> timesteps, sigmas;
};

/// Karras, exponential or beta sigmas between the ends of the training schedule.
Levels spaced_levels(const UniPcConfig& config, const std::vector<float>& training, int64_t steps) {
  Levels levels;
  levels.sigmas = spaced_sigmas(config.spacing, config.sigma_max.value_or(training.back()),
                                config.sigma_min.value_or(training.front()), steps);
  const bool karras = config.spacing == SigmaSpacing::karras;
  if (karras && config.use_flow_sigmas) {
    for (double& s : levels.sigmas) {
      s = s / (s + 1);
      levels.timesteps.push_back(s * static_cast<double>(config.num_train_timesteps));
    }
    return levels;
  }
  std::vector<float> logs;
  for (float s : training)
    logs.push_back(static_cast<float>(std::log(static_cast<double>(s))));
  for (double s : levels.sigmas) {
    const double t = step_of_sigma(s, logs);
    levels.timesteps.push_back(karras ? std::nearbyint(t) : t);
  }
  return levels;
}

Levels flow_levels(const UniPcConfig& config, int64_t steps, double shift) {
  Levels levels;
  const auto train = static_cast<double>(config.num_train_timesteps);
  levels.sigmas = linspace(1, 1 / train, steps + 1);
  levels.sigmas.pop_back();
  apply_shift(levels.sigmas, shift);
  if (config.shift_terminal.value_or(0) != 0) stretch_to_terminal(levels.sigmas, *config.shift_terminal);
  // At sigma 1 no signal is left and the solver would take the logarithm of 0.
  constexpr double kNearOne = 1e-6;
  if (std::fabs(levels.sigmas[0] - 1) < kNearOne) levels.sigmas[0] -= kNearOne;
  for (double s : levels.sigmas)
    levels.timesteps.push_back(s * train);
  return levels;
}

}  // namespace

UniPcConfig parse_unipc(const nlohmann::json& config, const std::string& where) {
  UniPcConfig result;
  JsonFields fields(config, where);
  parse_noise(config, fields, result);
  parse_sigmas(fields, result);
  parse_solver(fields, result);
  fields.finish();
  return result;
}

UniPcSchedule unipc_schedule(const UniPcConfig& config, int64_t steps, std::optional<double> flow_shift) {
  if (steps < 1 || steps > 100000) fail("num_inference_steps: ", steps, " is outside 1 to 100000");
  const bool shifted = config.use_flow_sigmas && config.spacing == SigmaSpacing::as_is;
  if (flow_shift && !shifted)
    fail("flow_shift: ", *flow_shift, " has no effect on this model's UniPCMultistepScheduler (it needs ",
         "use_flow_sigmas: true and no karras, exponential or beta sigmas); leave it out");
  if (flow_shift && !(*flow_shift > 0)) fail("flow_shift: ", *flow_shift, " must be greater than 0");

  Levels levels;
  std::optional<double> smallest;
  if (shifted) {
    levels = flow_levels(config, steps, flow_shift.value_or(config.flow_shift));
  } else {
    const at::Tensor sigmas = training_sigmas(config).contiguous();
    const float* data = sigmas.const_data_ptr<float>();
    const std::vector<float> training(data, data + sigmas.numel());
    if (config.spacing != SigmaSpacing::as_is) {
      levels = spaced_levels(config, training, steps);
    } else {
      levels.timesteps = spaced_timesteps(config, steps);
      const auto top = static_cast<double>(training.size() - 1);
      for (double t : levels.timesteps)
        levels.sigmas.push_back(training[static_cast<size_t>(std::clamp(t, 0.0, top))]);
      smallest = training.front();
    }
  }
  const double last = config.final_sigma_zero ? 0.0 : smallest.value_or(levels.sigmas.back());
  levels.sigmas.push_back(last);
  for (double sigma : levels.sigmas) {
    if (!std::isfinite(sigma))
      fail("num_inference_steps: ", steps, " gives no finite noise schedule with this scheduler's config",
           config.shift_terminal ? str(" (shift_terminal ", *config.shift_terminal, " needs 2 steps or more)")
                                 : "");
  }
  UniPcSchedule schedule;
  schedule.timesteps = at::tensor(levels.timesteps, at::kDouble).to(at::kLong);
  schedule.sigmas = at::tensor(levels.sigmas, at::kDouble).to(at::kFloat);
  return schedule;
}

}  // namespace rushes
