#pragma once
// The fields of UniPCMultistepScheduler's scheduler_config.json (diffusers 0.42) that change the result, and
// the noise schedule they describe.

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/schedulers/sigma_schedules.h"

namespace rushes {

enum class PredictionType { epsilon, sample, v_prediction, flow_prediction };
enum class TimestepSpacing { linspace, leading, trailing };

struct UniPcConfig {
  int64_t num_train_timesteps = 1000;
  double beta_start = 0.0001;
  double beta_end = 0.02;
  std::string beta_schedule = "linear";  // linear | scaled_linear | squaredcos_cap_v2
  std::optional<std::vector<double>> trained_betas;
  int64_t solver_order = 2;  // 1 to 3
  PredictionType prediction_type = PredictionType::epsilon;
  bool thresholding = false;
  double dynamic_thresholding_ratio = 0.995;
  double sample_max_value = 1.0;
  bool predict_x0 = true;
  bool bh1 = false;  // solver_type: B(h) = h where true, else e^h - 1
  bool lower_order_final = true;
  std::vector<int64_t> disable_corrector;
  SigmaSpacing spacing = SigmaSpacing::as_is;
  bool use_flow_sigmas = false;
  double flow_shift = 1.0;
  TimestepSpacing timestep_spacing = TimestepSpacing::linspace;
  int64_t steps_offset = 0;
  bool final_sigma_zero = true;  // final_sigmas_type: "zero", else "sigma_min"
  bool rescale_betas_zero_snr = false;
  std::optional<double> sigma_min, sigma_max;
  std::optional<double> shift_terminal;
};

/// Throws UserError listing every field that is wrong, unsupported or unknown; `where` names the file.
/// Refused: use_dynamic_shifting (needs a mu that no pipeline here gives), solver_p, solver_order over 3.
UniPcConfig parse_unipc(const nlohmann::json& config, const std::string& where);

/// Timesteps (int64) and sigmas (float32, one more) of a run, both on CPU.
struct UniPcSchedule {
  at::Tensor timesteps, sigmas;
};

/// The schedule of `steps` steps. With `trailing` spacing rounding can give one timestep more than asked, as
/// it does in diffusers. `flow_shift` overrides the config's; UserError where the config uses none.
UniPcSchedule unipc_schedule(const UniPcConfig& config, int64_t steps, std::optional<double> flow_shift);

}  // namespace rushes
