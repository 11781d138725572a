#pragma once
// First stage: the request is one that the pipeline's blueprint accepts. Jobs check this before anything
// starts; a pipeline does not rely on it.

#include "pipelines/stage.h"

namespace rushes {

class InputValidationStage : public Stage {
 public:
  /// `blueprint` must outlive the stage.
  explicit InputValidationStage(const Blueprint& blueprint) : blueprint_(blueprint) {}
  std::string name() const override { return "input validation"; }
  void verify_input(const ForwardBatch&) const override {}
  void forward(ForwardBatch& batch, const RunContext& context) override;
  void verify_output(const ForwardBatch&) const override {}

 private:
  const Blueprint& blueprint_;
};

}  // namespace rushes
