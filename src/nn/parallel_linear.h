#pragma once
// Dense layers and tables that the ranks of a group hold together (Shoeybi et al., arXiv 1909.08053). Each
// layer owns its shard rule: it takes its own part of the checkpoint's parameter out of the loader, whose
// options().tp is the group; without one the layer is the whole. What is dealt out (heads, columns, rows of a
// table) need not divide by the number of ranks.

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "nn/linear.h"
#include "weights/tensor_loader.h"

namespace rushes {

/// Column parallel: each rank makes some of the outputs, of the whole input. Several layers over the same
/// input are one product ("merged": q, k and v; a gate and what it gates).
class ColumnLinear {
 public:
  ColumnLinear() = default;
  /// Takes `<name>.weight` [out, in] and, with `bias`, `<name>.bias` of each name; this rank's rows are
  /// `share` of each.
  ColumnLinear(TensorLoader& loader, const std::vector<std::string>& names, int64_t in, int64_t out,
               Share share, bool bias = true);

  /// x: [..., in] -> [..., share.count] for each name, in order: views of one tensor.
  std::vector<at::Tensor> forward_all(const at::Tensor& x, Epilogue epilogue = Epilogue::none) const;
  /// Of a layer of one name.
  at::Tensor forward(const at::Tensor& x, Epilogue epilogue = Epilogue::none) const;

 private:
  Linear linear_;
  int64_t parts_ = 1;
};

/// Row parallel: each rank has some of the inputs; their products' sum is everyone's output. Summed in
/// float32 in the order of the ranks, the bias added and rounded once.
class RowLinear {
 public:
  RowLinear() = default;
  /// Takes `<name>.weight` [out, in], of which this rank holds the columns `share`, and with `bias` all of
  /// `<name>.bias`. `dtype`: the type to keep them in (default: the loader's).
  RowLinear(TensorLoader& loader, const std::string& name, int64_t in, int64_t out, Share share,
            bool bias = true, std::optional<at::ScalarType> dtype = {});

  /// x: [..., share.count] -> [..., out], the same on every rank.
  at::Tensor forward(const at::Tensor& x) const;

 private:
  LinearWeight weight_;
  at::Tensor bias_;
  const Comm* group_ = nullptr;
};

/// A table whose rows are dealt out over the vocabulary; every rank gets every id's row.
class VocabEmbedding {
 public:
  VocabEmbedding() = default;
  /// Takes `<name>.weight` [count, dim].
  VocabEmbedding(TensorLoader& loader, const std::string& name, int64_t count, int64_t dim);

  /// ids: int64, any shape -> [ids' shape..., dim]. An id outside [0, count) is a UserError that names it.
  at::Tensor forward(const at::Tensor& ids) const;

 private:
  std::string name_;
  at::Tensor weight_;  // this rank's rows
  int64_t count_ = 0;
  Share share_;
  const Comm* group_ = nullptr;
};

}  // namespace rushes
