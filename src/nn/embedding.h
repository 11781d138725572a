#pragma once
// Lookup tables and the sinusoidal embedding of timesteps.

#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "weights/tensor_loader.h"

namespace rushes {

/// Throws UserError, naming the table, where an id is outside [0, count).
void check_ids(const at::Tensor& ids, int64_t count, const std::string& name);

/// A row of the table a number.
class Embedding {
 public:
  Embedding() = default;
  /// Takes `<name>.weight`, [count, dim]. `dtype`: the type to keep it in (default: the loader's).
  Embedding(TensorLoader& loader, const std::string& name, int64_t count, int64_t dim,
            std::optional<at::ScalarType> dtype = {});

  /// ids: int64, any shape, on any device -> [ids' shape..., dim] on the table's device. An id outside
  /// [0, count) is a UserError that names it.
  at::Tensor forward(const at::Tensor& ids) const;
  const at::Tensor& weight() const { return weight_; }

 private:
  std::string name_;
  at::Tensor weight_;
};

/// What turns a number into sines and cosines (Vaswani et al. 2017; diffusers' get_timestep_embedding, whose
/// words these are).
struct TimestepEmbeddingOptions {
  bool flip_sin_to_cos = true;      // cosines first
  double downscale_freq_shift = 0;  // frequency i of n is max_period^(-i / (n - shift))
  double scale = 1;
  double max_period = 10000;
};

/// timestep: [n], any dtype -> [n, dim] float32, on timestep's device; an odd dim ends with a zero.
at::Tensor timestep_embedding(const at::Tensor& timestep, int64_t dim,
                              const TimestepEmbeddingOptions& options = {});

}  // namespace rushes
