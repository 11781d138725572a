#pragma once
// The tensors given to a probe, asked for by name; everything wrong with them is listed at once.

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "weights/tensor_store.h"

namespace rushes {

/// One side of an expected shape: its meaning, and its size where that is known.
struct Side {
  std::string meaning;
  std::optional<int64_t> size = {};
};

enum class Values { floating, whole, any };

class ProbeInputs {
 public:
  explicit ProbeInputs(const std::filesystem::path& file);

  /// The tensor, or an undefined one where it is absent (noted), or its type or shape is not as said (noted).
  /// Sides of size 0 are refused.
  at::Tensor required(const std::string& name, Values values, const std::vector<Side>& sides);
  /// The same; absence is nothing.
  std::optional<at::Tensor> optional(const std::string& name, Values values, const std::vector<Side>& sides);
  /// A tensor of any shape with at least one side.
  at::Tensor required_of_any_shape(const std::string& name);

  /// Sides of a tensor; nothing where it is absent.
  std::optional<int64_t> rank(const std::string& name) const;

  template <class... Parts>
  void problem(const Parts&... parts) {
    problems_.add(where_, ": ", parts...);
  }
  /// Throws UserError with everything noted and every tensor nobody asked for.
  void finish();

 private:
  at::Tensor find(const std::string& name, bool needed);
  at::Tensor checked(const std::string& name, const at::Tensor& tensor, Values values,
                     const std::vector<Side>& sides);

  TensorStore store_;
  std::string where_;
  std::vector<std::string> known_;
  Problems problems_;
};

}  // namespace rushes
