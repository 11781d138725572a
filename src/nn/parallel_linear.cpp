#include "nn/parallel_linear.h"

#include "base/error.h"
#include "dist/comm.h"
#include "nn/embedding.h"

namespace rushes {
namespace {

bool shared(const Comm* group) {
  return group != nullptr && !group->alone();
}

}  // namespace

ColumnLinear::ColumnLinear(TensorLoader& loader, const std::vector<std::string>& names, int64_t in,
                           int64_t out, Share share, bool bias)
    : parts_(static_cast<int64_t>(names.size())) {
  std::vector<Parameter> weights, biases;
  for (const std::string& name : names) {
    weights.push_back({name + ".weight", {out, in}, {}, 0, share});
    biases.push_back({name + ".bias", {out}, {}, 0, share});
  }
  const auto joined = [](const std::vector<at::Tensor>& parts) {
    return parts.size() == 1 ? parts[0] : at::cat(parts);
  };
  linear_ = Linear(take_weight(loader, weights), bias ? loader.make(biases, joined) : at::Tensor());
}

std::vector<at::Tensor> ColumnLinear::forward_all(const at::Tensor& x, Epilogue epilogue) const {
  return linear_.forward(x, epilogue).chunk(parts_, -1);
}

at::Tensor ColumnLinear::forward(const at::Tensor& x, Epilogue epilogue) const {
  RUSHES_CHECK(parts_ == 1, parts_, " layers");
  return linear_.forward(x, epilogue);
}

RowLinear::RowLinear(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, Share share,
                     bool bias, std::optional<at::ScalarType> dtype)
    : weight_(take_weight(loader, {{name + ".weight", {out, in}, dtype, 1, share}})),
      group_(loader.options().tp) {
  if (bias) bias_ = loader.take(name + ".bias", {out}, dtype);
}

at::Tensor RowLinear::forward(const at::Tensor& x) const {
  const at::Tensor own = x.to(weight_.dtype());
  if (!shared(group_)) return linear(own, weight_, bias_);
  at::Tensor sum = linear_sums(own, weight_);
  // In the sum before it is rounded, and so on one rank alone.
  if (bias_.defined() && group_->rank() == 0) sum.add_(bias_);
  return group_->all_reduce(sum, weight_.dtype());
}

VocabEmbedding::VocabEmbedding(TensorLoader& loader, const std::string& name, int64_t count, int64_t dim)
    : name_(name), count_(count), share_(share_of(count, loader.options().tp)), group_(loader.options().tp) {
  weight_ = loader.take_part(name + ".weight", {count, dim}, 0, share_);
}

at::Tensor VocabEmbedding::forward(const at::Tensor& ids) const {
  check_ids(ids, count_, name_);
  const at::Tensor here = ids.to(weight_.device());
  if (!shared(group_)) return at::embedding(weight_, here);
  // An id of another rank's is looked up as 0 and its row not counted: each row comes from one rank alone, so
  // the sum rounds nothing.
  const at::Tensor local = here - share_.begin;
  const at::Tensor mine = local.ge(0).logical_and(local.lt(share_.count));
  at::Tensor rows = share_.count == 0 ? at::zeros({here.numel(), weight_.size(1)}, weight_.options())
                                      : at::embedding(weight_, at::where(mine, local, 0).reshape({-1}));
  rows = rows.masked_fill(mine.reshape({-1, 1}).logical_not(), 0);
  group_->all_reduce_(rows);
  std::vector<int64_t> shape = ids.sizes().vec();
  shape.push_back(weight_.size(1));
  return rows.view(shape);
}

}  // namespace rushes
