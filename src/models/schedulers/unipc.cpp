#include "models/schedulers/unipc.h"

#include <deque>
#include <utility>

#include "base/error.h"
#include "models/schedulers/unipc_plan.h"

namespace rushes {
namespace {

/// "Dynamic thresholding" (Saharia et al. 2022, section 2.3): each sample of the batch is cut at a quantile
/// of its absolute values and divided by it.
at::Tensor threshold(const UniPcConfig& config, const at::Tensor& x0) {
  if (x0.dim() < 1) fail("thresholding: true needs samples with a batch dimension");
  const at::Tensor wide = x0.scalar_type() == at::kDouble ? x0 : x0.to(at::kFloat);
  const at::Tensor rows = wide.reshape({x0.size(0), -1});
  at::Tensor limit = at::quantile(rows.abs(), config.dynamic_thresholding_ratio, 1);
  limit = limit.clamp(1, config.sample_max_value).unsqueeze(1);
  return at::clamp(rows, limit.neg(), limit).div(limit).reshape(x0.sizes()).to(x0.scalar_type());
}

class UniPcRun : public SchedulerRun {
 public:
  UniPcRun(UniPcConfig config, UniPcSchedule schedule, std::vector<UniPcStep> plan)
      : config_(std::move(config)), schedule_(std::move(schedule)), plan_(std::move(plan)) {}

  const at::Tensor& timesteps() const override { return schedule_.timesteps; }
  const at::Tensor& sigmas() const override { return schedule_.sigmas; }

  at::Tensor step(const at::Tensor& model_output, const at::Tensor& sample) override {
    RUSHES_CHECK(next_ < plan_.size(), "step ", next_, " of ", plan_.size());
    const UniPcStep& now = plan_[next_];
    const at::Tensor output = convert(model_output, sample, now);
    at::Tensor x = sample;
    if (now.correct) x = apply(now.corrector, last_sample_, &output).to(sample.scalar_type());
    outputs_.push_front(output);
    if (outputs_.size() > static_cast<size_t>(config_.solver_order)) outputs_.pop_back();
    last_sample_ = x;
    ++next_;
    return apply(now.predictor, x, nullptr).to(sample.scalar_type());
  }

  std::map<std::string, at::Tensor> history() const override {
    std::map<std::string, at::Tensor> tensors;
    if (next_ == 0) return tensors;
    tensors["last_sample"] = last_sample_;
    for (size_t k = 0; k < outputs_.size(); ++k)
      tensors[str("output_", k)] = outputs_[k];
    return tensors;
  }

  void resume(int64_t done, const std::map<std::string, at::Tensor>& history) override {
    RUSHES_CHECK(next_ == 0, "resumed behind step ", next_);
    const auto known = std::min<size_t>(static_cast<size_t>(done), static_cast<size_t>(config_.solver_order));
    if (done < 1 || done > static_cast<int64_t>(plan_.size()) || history.size() != known + 1 ||
        history.count("last_sample") == 0)
      fail("no history of ", done, " UniPC steps of order ", config_.solver_order);
    const at::Tensor& last = history.at("last_sample");
    std::deque<at::Tensor> outputs;
    for (size_t k = 0; k < known; ++k) {
      const auto output = history.find(str("output_", k));
      if (output == history.end() || output->second.sizes() != last.sizes())
        fail("no history of ", done, " UniPC steps: output_", k);
      outputs.push_back(output->second);
    }
    last_sample_ = last;
    outputs_ = std::move(outputs);
    next_ = static_cast<size_t>(done);
  }

 private:
  /// What the solver works on (x0, or the noise where predict_x0 is false), from what the model gives.
  at::Tensor convert(const at::Tensor& output, const at::Tensor& sample, const UniPcStep& now) const {
    const PredictionType type = config_.prediction_type;
    if (!config_.predict_x0) {
      if (type == PredictionType::sample) return at::sub(sample, output.mul(now.alpha)).div(now.sigma);
      if (type == PredictionType::v_prediction) return at::add(output.mul(now.alpha), sample.mul(now.sigma));
      return output;
    }
    at::Tensor x0;
    if (type == PredictionType::sample)
      x0 = output;
    else if (type == PredictionType::v_prediction)
      x0 = at::sub(sample.mul(now.alpha), output.mul(now.sigma));
    else if (type == PredictionType::flow_prediction)
      x0 = at::sub(sample, output.mul(schedule_.sigmas[static_cast<int64_t>(next_)].item<float>()));
    else
      x0 = at::sub(sample, output.mul(now.sigma)).div(now.alpha);
    return config_.thresholding ? threshold(config_, x0) : x0;
  }

  /// `newest`: the output at the end of the step, for the corrector.
  at::Tensor apply(const UniPcUpdate& update, const at::Tensor& x, const at::Tensor* newest) const {
    const at::Tensor& m0 = outputs_.front();
    at::Tensor result = at::sub(x.mul(update.sample_factor), m0.mul(update.model_factor));
    at::Tensor differences;
    const auto add = [&](const at::Tensor& term) {
      differences = differences.defined() ? differences.add(term) : term;
    };
    for (size_t k = 0; k < update.r.size(); ++k)
      add(at::sub(outputs_[k + 1], m0).div(update.r[k]).mul(update.rho[k]));
    if (newest != nullptr) add(at::sub(*newest, m0).mul(update.rho.back()));
    if (differences.defined()) result = at::sub(result, differences.mul(update.difference_factor));
    return result;
  }

  UniPcConfig config_;
  UniPcSchedule schedule_;
  std::vector<UniPcStep> plan_;
  size_t next_ = 0;
  std::deque<at::Tensor> outputs_;  // converted, newest first, as many as solver_order
  at::Tensor last_sample_;          // what the last predictor started from
};

}  // namespace

std::unique_ptr<SchedulerRun> UniPcScheduler::start(int64_t steps, std::optional<double> flow_shift) const {
  UniPcSchedule schedule = unipc_schedule(config_, steps, flow_shift);
  std::vector<UniPcStep> plan = plan_unipc(config_, schedule);
  return std::make_unique<UniPcRun>(config_, std::move(schedule), std::move(plan));
}

std::unique_ptr<Scheduler> make_unipc(const nlohmann::json& config, const std::string& where) {
  return std::make_unique<UniPcScheduler>(parse_unipc(config, where));
}

}  // namespace rushes
