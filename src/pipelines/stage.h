#pragma once
// A pipeline is a list of stages; each is verify -> forward -> verify, timed in one place (ComposedPipeline).

#include <memory>
#include <string>
#include <vector>

#include "dist/groups.h"
#include "pipelines/forward_batch.h"

namespace rushes {

class Stage {
 public:
  virtual ~Stage() = default;
  virtual std::string name() const = 0;
  /// What the stage needs of the batch; throws UserError (the request's fault) or fails a RUSHES_CHECK
  /// (ours).
  virtual void verify_input(const ForwardBatch& batch) const = 0;
  virtual void forward(ForwardBatch& batch, const RunContext& context) = 0;
  /// What the stage promises of the batch.
  virtual void verify_output(const ForwardBatch& batch) const = 0;
  /// Memory ran out in a stage behind this one: keeps what another try need not make again. Never throws.
  virtual void keep_output(const ForwardBatch& /*batch*/, const RunContext& /*context*/) {}
  /// Lets go of its weights until they are used again (MemoryRung::offload).
  virtual void release_weights() {}
};

class ComposedPipeline : public Pipeline {
 public:
  /// `groups`: of the ranks that share a clip, to count what is sent; or nullptr.
  explicit ComposedPipeline(std::vector<std::unique_ptr<Stage>> stages, const Groups* groups = nullptr)
      : stages_(std::move(stages)), groups_(groups) {}
  Clip run(const Request& request, const RunContext& context) override;

 private:
  void run_stage(size_t index, ForwardBatch& batch, const RunContext& context);

  std::vector<std::unique_ptr<Stage>> stages_;
  const Groups* groups_;
};

/// Throws UserError where `tensor` holds NaN or infinity; `what` names it.
void require_finite(const at::Tensor& tensor, const std::string& what);

}  // namespace rushes
