#pragma once
// The loop over timesteps: one transformer forward a step, two with classifier-free guidance, then the
// scheduler. Follows the loop of diffusers' pipeline_wan.py: guidance is taken in the transformer's dtype;
// latents start in float32 and have whatever dtype the scheduler's step gives from then on.

#include <memory>
#include <optional>

#include "pipelines/component.h"
#include "pipelines/stage.h"

namespace rushes {

/// Which transformer works at which noise level (Wan 2.2 has two experts).
struct DenoisingParts {
  Reloadable<Transformer> transformer;    // at timesteps >= boundary
  Reloadable<Transformer> transformer_2;  // below; none: `transformer` everywhere
  double boundary_timestep = 0;           // read only with transformer_2
  bool expand_timesteps = false;          // one timestep a token (Wan 2.2 TI2V)
  AttentionBackend attention = AttentionBackend::automatic;
  const Groups* groups = nullptr;  // see PipelineOptions
};

class DenoisingStage : public Stage {
 public:
  explicit DenoisingStage(DenoisingParts parts) : parts_(std::move(parts)) {}
  std::string name() const override { return "denoising"; }
  void verify_input(const ForwardBatch& batch) const override;
  void forward(ForwardBatch& batch, const RunContext& context) override;
  void verify_output(const ForwardBatch& batch) const override;
  void keep_output(const ForwardBatch& batch, const RunContext& context) override;
  void release_weights() override;

  /// Pieces in which heads are traded (RUSHES_OVERLAP). Throws UserError where that is no such number.
  static int64_t trade_pieces(at::Device device);

 private:
  Reloadable<Transformer>& expert(const at::Tensor& timestep);
  Reloadable<Transformer>& other_expert(const at::Tensor& timestep);
  at::Tensor model_timestep(const at::Tensor& timestep, const at::Tensor& latents) const;
  /// Steps that need not be made: of the leader's checkpoint, which all ranks of the replica get.
  static int64_t resume(ForwardBatch& batch, const RunContext& context);
  static void keep(const ForwardBatch& batch, int64_t steps_done, const RunContext& context);
  at::Tensor predict(const ForwardBatch& batch, const at::Tensor& timestep, const StepContext& context);

  DenoisingParts parts_;
};

}  // namespace rushes
