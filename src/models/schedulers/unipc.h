#pragma once
// UniPCMultistepScheduler of diffusers 0.42: predictor-corrector sampling (Zhao et al. 2023,
// arXiv:2302.04867).

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "models/interfaces.h"
#include "models/schedulers/unipc_config.h"

namespace rushes {

class UniPcScheduler : public Scheduler {
 public:
  explicit UniPcScheduler(UniPcConfig config) : config_(std::move(config)) {}
  /// timesteps: int64. The run starts at its first step, as with diffusers' set_begin_index(0). step()
  /// returns `sample`'s dtype. Throws UserError where the steps have no finite result (see unipc_plan.h).
  std::unique_ptr<SchedulerRun> start(int64_t steps, std::optional<double> flow_shift) const override;
  int64_t train_timesteps() const override { return config_.num_train_timesteps; }

 private:
  UniPcConfig config_;
};

std::unique_ptr<Scheduler> make_unipc(const nlohmann::json& config, const std::string& where);

}  // namespace rushes
