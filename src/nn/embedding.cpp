#include "nn/embedding.h"

#include <cmath>

#include "base/error.h"

namespace rushes {

Embedding::Embedding(TensorLoader& loader, const std::string& name, int64_t count, int64_t dim,
                     std::optional<at::ScalarType> dtype)
    : name_(name), weight_(loader.take(name + ".weight", {count, dim}, dtype)) {}

void check_ids(const at::Tensor& ids, int64_t count, const std::string& name) {
  RUSHES_CHECK(ids.scalar_type() == at::kLong, ids.toString());
  if (ids.numel() == 0) return;
  // Looked at on the host, where ids come from: on a GPU a wrong id would end the whole process.
  const int64_t low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
  if (low >= 0 && high < count) return;
  fail(name, ": id ", low < 0 ? low : high, " is outside the table of ", count, " rows");
}

at::Tensor Embedding::forward(const at::Tensor& ids) const {
  check_ids(ids, weight_.size(0), name_);
  return at::embedding(weight_, ids.to(weight_.device()));
}

at::Tensor timestep_embedding(const at::Tensor& timestep, int64_t dim,
                              const TimestepEmbeddingOptions& options) {
  RUSHES_CHECK(timestep.dim() == 1 && dim >= 2, "timestep ", timestep.sizes(), ", dim ", dim);
  // In float32 and in this order, as the reference rounds: an angle reaches 1000, where a rounding of the
  // frequency shows.
  const int64_t half = dim / 2;
  const auto float_here = timestep.options().dtype(at::kFloat);
  const at::Tensor exponent = at::arange(half, float_here)
                                  .mul_(-std::log(options.max_period))
                                  .div_(static_cast<double>(half) - options.downscale_freq_shift);
  at::Tensor angle = timestep.to(at::kFloat).unsqueeze(1) * exponent.exp().unsqueeze(0);
  if (options.scale != 1) angle.mul_(options.scale);
  const at::Tensor sine = angle.sin(), cosine = angle.cos();
  at::Tensor out = options.flip_sin_to_cos ? at::cat({cosine, sine}, 1) : at::cat({sine, cosine}, 1);
  if (dim % 2 == 1) out = at::constant_pad_nd(out, {0, 1});
  return out;
}

}  // namespace rushes
