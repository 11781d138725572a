#pragma once
// The scalars of every UniPC step, which follow from the noise levels alone (Zhao et al. 2023,
// arXiv:2302.04867, algorithms 5 to 8; diffusers 0.42 `multistep_uni_{p,c}_bh_update`).

#include <vector>

#include "models/schedulers/unipc_config.h"

namespace rushes {

/// x_t = sample_factor * x - model_factor * m0 - difference_factor * (sum_k rho_k (m_k - m0) / r_k [+
/// rho_last * (m_t - m0)]).
struct UniPcUpdate {
  float sample_factor = 0, model_factor = 0, difference_factor = 0;
  std::vector<float> r;    // of the older outputs, newest first
  std::vector<float> rho;  // predictor: as many; corrector: one more, of the newest output
};

struct UniPcStep {
  int64_t order = 1;
  float alpha = 0, sigma = 0;  // of the sample that the model saw
  bool correct = false;        // correct the sample by `corrector` before predicting
  UniPcUpdate corrector, predictor;
};

/// All steps of a run. Throws UserError, naming the fields to change, where a step has a factor that is not
/// finite (e.g. final_sigmas_type "zero" with solver_type "bh1").
std::vector<UniPcStep> plan_unipc(const UniPcConfig& config, const UniPcSchedule& schedule);

}  // namespace rushes
