#include "probe/probe_inputs.h"

#include <algorithm>

#include "base/nearest.h"
#include "weights/words.h"

namespace rushes {
namespace {

std::string expected_shape(const std::vector<Side>& sides) {
  std::vector<std::string> words;
  for (const auto& side : sides)
    words.push_back(side.size ? str(side.meaning, " = ", *side.size) : side.meaning);
  return str("[", join(words, ", "), "]");
}

bool fits(at::IntArrayRef shape, const std::vector<Side>& sides) {
  if (shape.size() != sides.size()) return false;
  for (size_t i = 0; i < sides.size(); ++i) {
    if (shape[i] == 0 || (sides[i].size && *sides[i].size != shape[i])) return false;
  }
  return true;
}

}  // namespace

ProbeInputs::ProbeInputs(const std::filesystem::path& file)
    : store_(TensorStore::open_file(file)), where_(file.string()) {}

at::Tensor ProbeInputs::find(const std::string& name, bool needed) {
  known_.push_back(name);
  if (const StoredTensor* stored = store_.find(name)) return as_tensor(*stored);
  if (needed) {
    std::vector<std::string> there;
    for (const auto& [other, tensor] : store_.tensors())
      there.push_back(other);
    problem("tensor '", name, "' is missing", did_you_mean(name, there));
  }
  return {};
}

at::Tensor ProbeInputs::checked(const std::string& name, const at::Tensor& tensor, Values values,
                                const std::vector<Side>& sides) {
  if (!tensor.defined()) return {};
  const bool floating = at::isFloatingType(tensor.scalar_type());
  bool good = true;
  if (values != Values::any && floating != (values == Values::floating)) {
    problem("tensor '", name, "' is of ", safetensors_dtype(tensor.scalar_type()), "; needs ",
            values == Values::floating ? "floating-point" : "whole", " numbers");
    good = false;
  }
  if (!fits(tensor.sizes(), sides)) {
    problem("tensor '", name, "' has shape ", shape_text(tensor.sizes()), "; needs ", expected_shape(sides));
    good = false;
  }
  return good ? tensor : at::Tensor();
}

at::Tensor ProbeInputs::required(const std::string& name, Values values, const std::vector<Side>& sides) {
  return checked(name, find(name, /*needed=*/true), values, sides);
}

std::optional<at::Tensor> ProbeInputs::optional(const std::string& name, Values values,
                                                const std::vector<Side>& sides) {
  const at::Tensor tensor = checked(name, find(name, /*needed=*/false), values, sides);
  if (!tensor.defined()) return {};
  return tensor;
}

at::Tensor ProbeInputs::required_of_any_shape(const std::string& name) {
  const at::Tensor tensor = find(name, /*needed=*/true);
  if (!tensor.defined()) return {};
  const bool good = tensor.dim() > 0 && tensor.numel() > 0 && at::isFloatingType(tensor.scalar_type());
  if (!good) {
    problem("tensor '", name, "' is ", safetensors_dtype(tensor.scalar_type()), " ",
            shape_text(tensor.sizes()), "; needs floating-point numbers and no empty side");
  }
  return good ? tensor : at::Tensor();
}

std::optional<int64_t> ProbeInputs::rank(const std::string& name) const {
  const StoredTensor* stored = store_.find(name);
  if (stored == nullptr) return {};
  return static_cast<int64_t>(stored->shape.size());
}

void ProbeInputs::finish() {
  for (const auto& [name, tensor] : store_.tensors()) {
    if (std::find(known_.begin(), known_.end(), name) == known_.end()) {
      problem("tensor ", quote_name(name), " is none of this component's inputs (", join(known_, ", "), ")",
              did_you_mean(name, known_));
    }
  }
  problems_.throw_if_any();
}

}  // namespace rushes
