#include "pipelines/stages/input_validation.h"

namespace rushes {

void InputValidationStage::forward(ForwardBatch& batch, const RunContext&) {
  Problems problems;
  blueprint_.check(batch.request.sampling, "request", problems);
  if (batch.request.sampling.samples != 1)
    problems.add("request: samples is ", batch.request.sampling.samples,
                 "; a pipeline makes one clip at a time");
  problems.throw_if_any();
}

}  // namespace rushes
