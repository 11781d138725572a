#pragma once
// FlowMatchEulerDiscreteScheduler of diffusers 0.42: x' = x + (sigma' - sigma) * velocity.
//
// Honoured fields: num_train_timesteps, shift, shift_terminal, invert_sigmas, use_{karras,exponential,beta}_
// sigmas. Refused: use_dynamic_shifting (needs a mu that no pipeline here gives), stochastic_sampling.
// base_shift, max_shift, base_image_seq_len, max_image_seq_len and time_shift_type only serve dynamic
// shifting.

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "models/interfaces.h"
#include "models/schedulers/sigma_schedules.h"

namespace rushes {

struct FlowMatchEulerConfig {
  int64_t num_train_timesteps = 1000;
  double shift = 1.0;
  std::optional<double> shift_terminal;
  bool invert_sigmas = false;
  SigmaSpacing spacing = SigmaSpacing::as_is;
};

/// Throws UserError listing every field that is wrong, unsupported or unknown; `where` names the file.
FlowMatchEulerConfig parse_flow_match_euler(const nlohmann::json& config, const std::string& where);

class FlowMatchEulerScheduler : public Scheduler {
 public:
  explicit FlowMatchEulerScheduler(const FlowMatchEulerConfig& config) : config_(config) {}
  /// timesteps: float32. A `flow_shift` takes the place of the config's `shift`. The run's step() returns
  /// model_output's dtype, as diffusers does. Throws UserError where `steps` gives no finite schedule.
  std::unique_ptr<SchedulerRun> start(int64_t steps, std::optional<double> flow_shift) const override;
  int64_t train_timesteps() const override { return config_.num_train_timesteps; }

 private:
  FlowMatchEulerConfig config_;
};

std::unique_ptr<Scheduler> make_flow_match_euler(const nlohmann::json& config, const std::string& where);

}  // namespace rushes
