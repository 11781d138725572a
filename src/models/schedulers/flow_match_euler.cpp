#include "models/schedulers/flow_match_euler.h"

#include <utility>

#include "base/error.h"
#include "base/quote.h"
#include "config/json_fields.h"

namespace rushes {
namespace {

class FlowMatchEulerRun : public SchedulerRun {
 public:
  FlowMatchEulerRun(at::Tensor timesteps, at::Tensor sigmas)
      : timesteps_(std::move(timesteps)), sigmas_(std::move(sigmas)) {}

  const at::Tensor& timesteps() const override { return timesteps_; }
  const at::Tensor& sigmas() const override { return sigmas_; }

  at::Tensor step(const at::Tensor& model_output, const at::Tensor& sample) override {
    RUSHES_CHECK(step_ < timesteps_.size(0), "step ", step_, " of ", timesteps_.size(0));
    const float* sigma = sigmas_.const_data_ptr<float>() + step_;
    const float dt = sigma[1] - sigma[0];
    ++step_;
    return at::add(sample.to(at::kFloat), at::mul(model_output, dt)).to(model_output.scalar_type());
  }

  void resume(int64_t done, const std::map<std::string, at::Tensor>& history) override {
    RUSHES_CHECK(step_ == 0, "resumed behind step ", step_);
    if (done < 1 || done > timesteps_.size(0) || !history.empty())
      fail("no history of ", done, " Euler steps");
    step_ = done;
  }

 private:
  at::Tensor timesteps_, sigmas_;
  int64_t step_ = 0;
};

}  // namespace

FlowMatchEulerConfig parse_flow_match_euler(const nlohmann::json& config, const std::string& where) {
  FlowMatchEulerConfig result;
  JsonFields fields(config, where);
  result.num_train_timesteps = fields.integer("num_train_timesteps", 1000);
  fields.range("num_train_timesteps", static_cast<double>(result.num_train_timesteps), 1, 1e6);
  result.shift = fields.number("shift", 1.0);
  fields.range("shift", result.shift, 1e-6, 1e6);
  result.shift_terminal = fields.optional_number("shift_terminal");
  if (result.shift_terminal) fields.range("shift_terminal", *result.shift_terminal, 0, 0.999999);
  result.invert_sigmas = fields.boolean("invert_sigmas", false);
  const bool karras = fields.boolean("use_karras_sigmas", false);
  const bool exponential = fields.boolean("use_exponential_sigmas", false);
  const bool beta = fields.boolean("use_beta_sigmas", false);
  bool clash = false;
  result.spacing = sigma_spacing(karras, exponential, beta, clash);
  if (clash)
    fields.problem("use_karras_sigmas",
                   "only one of use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas can be true");
  if (fields.boolean("use_dynamic_shifting", false))
    fields.problem(
        "use_dynamic_shifting",
        "true is not supported: it needs a shift (mu) that depends on the picture's size, which no "
        "pipeline here gives; set it to false and give `shift`");
  if (fields.boolean("stochastic_sampling", false))
    fields.problem("stochastic_sampling",
                   "true is not supported: no noise is drawn between the steps; set it to false");
  const std::string shift_type = fields.text("time_shift_type", "exponential");
  if (shift_type != "exponential" && shift_type != "linear")
    fields.problem("time_shift_type", quote_name(shift_type), " must be 'exponential' or 'linear'");
  fields.harmless({"base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"});
  fields.finish();
  return result;
}

std::unique_ptr<SchedulerRun> FlowMatchEulerScheduler::start(int64_t steps,
                                                             std::optional<double> flow_shift) const {
  if (steps < 1 || steps > 100000) fail("num_inference_steps: ", steps, " is outside 1 to 100000");
  const double shift = flow_shift.value_or(config_.shift);
  if (!(shift > 0)) fail("flow_shift: ", shift, " must be greater than 0");

  // The range of the training schedule is shifted once (in float32), and what is laid out in it once more.
  const int64_t train = config_.num_train_timesteps;
  const at::Tensor ends = at::tensor({static_cast<float>(train), 1.0F}).div(train);
  const at::Tensor shifted = ends.mul(shift).div(ends.mul(shift - 1).add(1));
  const auto n = static_cast<double>(train);
  std::vector<double> sigmas = linspace(shifted[0].item<float>() * n, shifted[1].item<float>() * n, steps);
  for (double& s : sigmas)
    s /= n;
  apply_shift(sigmas, shift);
  if (config_.shift_terminal.value_or(0) != 0) stretch_to_terminal(sigmas, *config_.shift_terminal);
  if (config_.spacing != SigmaSpacing::as_is)
    sigmas = spaced_sigmas(config_.spacing, sigmas.front(), sigmas.back(), steps);

  at::Tensor levels = at::tensor(sigmas, at::kDouble).to(at::kFloat);
  if (!levels.isfinite().all().item<bool>())
    fail("num_inference_steps: ", steps, " gives no finite noise schedule with this scheduler's config",
         config_.shift_terminal ? str(" (shift_terminal ", *config_.shift_terminal, " needs 2 steps or more)")
                                : "");
  if (config_.invert_sigmas) levels = levels.neg().add(1);
  at::Tensor timesteps = levels.mul(train);
  const at::Tensor last = at::full({1}, config_.invert_sigmas ? 1.0F : 0.0F, at::kFloat);
  return std::make_unique<FlowMatchEulerRun>(std::move(timesteps), at::cat({levels, last}));
}

std::unique_ptr<Scheduler> make_flow_match_euler(const nlohmann::json& config, const std::string& where) {
  return std::make_unique<FlowMatchEulerScheduler>(parse_flow_match_euler(config, where));
}

}  // namespace rushes
