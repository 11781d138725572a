#include "weights/tensor_loader.h"

#include <algorithm>
#include <limits>

#include "base/nearest.h"
#include "weights/mapped_file.h"
#include "weights/safetensors_header.h"
#include "weights/words.h"

namespace rushes {
namespace {

constexpr size_t kMaxListed = 200;       // of each kind, in one message
constexpr size_t kMaxMissing = 10'000;   // a config asking for a million layers is not followed to its end
constexpr size_t kMaxGuesses = 20;       // missing names for which a near one is looked for
constexpr size_t kMaxCandidates = 2000;  // among these

std::string rename(const std::string& stored, const std::vector<NameRule>& rules) {
  for (const auto& rule : rules) {
    if (stored.starts_with(rule.from)) return rule.to + stored.substr(rule.from.size());
  }
  return stored;
}

bool matches(const std::string& name, const std::string& pattern) {
  if (!pattern.ends_with('*')) return name == pattern;
  return name.starts_with(pattern.substr(0, pattern.size() - 1));
}

void list_up_to(const std::vector<std::string>& lines, const char* kind, std::vector<std::string>& all) {
  const size_t shown = std::min(lines.size(), kMaxListed);
  all.insert(all.end(), lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(shown));
  if (lines.size() > shown) all.push_back(str("... and ", lines.size() - shown, " more ", kind, " tensors"));
}

/// Takes no memory whatever the shape.
at::Tensor stand_in(at::IntArrayRef shape, at::ScalarType dtype, at::Device device) {
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  const bool floating = at::isFloatingType(dtype);
  return (floating ? at::full({}, std::numeric_limits<double>::quiet_NaN(), options) : at::zeros({}, options))
      .expand(shape);
}

}  // namespace

TensorLoader::TensorLoader(const TensorStore& store, LoadOptions options, std::string what,
                           std::vector<NameRule> rules)
    : store_(store), options_(options), what_(std::move(what)) {
  for (const auto& [stored, tensor] : store.tensors()) {
    const std::string name = rename(stored, rules);
    const auto [at, added] = stored_name_.emplace(name, stored);
    if (!added) {
      problems_.add(what_, ": the stored tensors ", quote_name(at->second), " and ", quote_name(stored),
                    " are both ", quote_name(name), " to the model");
      taken_.insert(stored);
    }
  }
  if (options_.node_memory == nullptr || !options_.device.is_cpu() || options_.invented) return;
  const Comm* tp = options_.tp;
  const std::string part = tp == nullptr ? "" : str(", part ", tp->rank(), " of ", tp->size());
  shelf_ = std::make_unique<Shelf>(*options_.node_memory, str(what_, ", ", options_.dtype, part));
}

bool TensorLoader::has(const std::string& name) const {
  return stored_name_.count(name) != 0;
}

std::optional<std::vector<int64_t>> TensorLoader::shape(const std::string& name) const {
  const auto found = stored_name_.find(name);
  if (found == stored_name_.end()) return {};
  return store_.find(found->second)->shape;
}

Share share_of(int64_t total, const Comm* group) {
  if (group == nullptr) return {0, total};
  const std::vector<int64_t> sizes = even_sizes(total, group->size());
  return {start_of(sizes, group->rank()), sizes[static_cast<size_t>(group->rank())]};
}

at::Tensor TensorLoader::take(const std::string& name, at::IntArrayRef shape,
                              std::optional<at::ScalarType> dtype) {
  return take_part(name, shape, 0, {0, shape.empty() ? 1 : shape[0]}, dtype);
}

at::Tensor TensorLoader::take_part(const std::string& name, at::IntArrayRef shape, int64_t dim, Share share,
                                   std::optional<at::ScalarType> dtype) {
  const Parameter parameter{name, shape.vec(), dtype, dim, share};
  const at::Tensor made = make({parameter}, [](const std::vector<at::Tensor>& one) { return one[0]; });
  return made.defined() ? made : stand_in(part_shape(parameter), dtype_of(parameter), options_.device);
}

at::Tensor TensorLoader::make(const std::vector<Parameter>& parameters,
                              const std::function<at::Tensor(const std::vector<at::Tensor>&)>& make) {
  std::vector<const StoredTensor*> stored;
  for (const Parameter& parameter : parameters)
    stored.push_back(find(parameter));
  if (!options_.invented && std::count(stored.begin(), stored.end(), nullptr) > 0) return {};
  if (shelf_ && shelf_->filled()) {
    const at::Tensor made = shelf_->next(parameters[0].name);
    if (made.defined()) return made;
  }
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < parameters.size(); ++i)
    tensors.push_back(read(parameters[i], stored[i]));
  at::Tensor made = make(tensors);
  if (options_.invented || options_.device.is_meta()) return made;
  // A view of a file is shared by all who map it.
  const bool view = std::any_of(stored.begin(), stored.end(), [&](const StoredTensor* tensor) {
    return made.is_cpu() && tensor->file->holds(made.storage().data());
  });
  if (shelf_ && !shelf_->filled()) {
    view ? shelf_->leave_out(parameters[0].name) : void(made = shelf_->put(parameters[0].name, made));
  }
  tensors.clear();
  for (const StoredTensor* tensor : stored) {
    if (!view) tensor->file->release(tensor->data, tensor->bytes);
  }
  return made;
}

std::vector<int64_t> TensorLoader::part_shape(const Parameter& parameter) const {
  std::vector<int64_t> part = parameter.shape;
  if (!part.empty() && parameter.share) part[static_cast<size_t>(parameter.dim)] = parameter.share->count;
  return part;
}

const StoredTensor* TensorLoader::find(const Parameter& parameter) {
  const at::ScalarType wanted = dtype_of(parameter);
  const at::IntArrayRef shape = parameter.shape;
  if (!tensor_bytes(parameter.shape, wanted)) {
    problems_.add(what_, ": tensor ", quote_name(parameter.name), " would have the shape ", shape_text(shape),
                  " by the config: no such tensor can exist");
    finish();
  }
  if (options_.invented) return nullptr;
  const auto found = stored_name_.find(parameter.name);
  if (found == stored_name_.end()) {
    missing_.push_back({parameter.name, parameter.shape});
    if (missing_.size() >= kMaxMissing) finish();
    return nullptr;
  }
  taken_.insert(found->second);
  const StoredTensor& stored = *store_.find(found->second);
  const auto wrong = [&](const std::string& what) {
    misfits_.push_back(
        str(what_, ": tensor ", quote_name(found->second), " in ", stored.file->path().string(), " ", what));
    return nullptr;
  };
  if (at::IntArrayRef(stored.shape) != shape) {
    return wrong(str("has shape ", shape_text(stored.shape), ", the config asks for ", shape_text(shape)));
  }
  if (at::isFloatingType(stored.dtype) != at::isFloatingType(wanted)) {
    return wrong(str("is stored as ", safetensors_dtype(stored.dtype), ", the model needs ",
                     at::isFloatingType(wanted) ? "floating-point numbers" : "whole numbers"));
  }
  return &stored;
}

at::Tensor TensorLoader::read(const Parameter& parameter, const StoredTensor* stored) const {
  const std::vector<int64_t> part = part_shape(parameter);
  const auto wanted = at::TensorOptions().dtype(dtype_of(parameter)).device(options_.device);
  if (options_.device.is_meta()) return at::empty(part, wanted);
  if (options_.invented) {
    const at::Tensor made = at::empty(part, wanted);
    return made.is_floating_point() ? made.normal_(0, 0.02) : made.zero_();
  }
  const at::Tensor whole = as_tensor(*stored);
  if (part == parameter.shape) return whole.to(wanted);
  return whole.narrow(parameter.dim, parameter.share->begin, parameter.share->count).contiguous().to(wanted);
}

void TensorLoader::ignore(const std::string& pattern) {
  ignored_.push_back(pattern);
}

std::vector<std::string> TensorLoader::unexpected() const {
  std::vector<std::string> names;
  for (const auto& [name, stored] : stored_name_) {
    const bool known =
        taken_.count(stored) != 0 ||
        std::any_of(ignored_.begin(), ignored_.end(), [&](const auto& p) { return matches(name, p); });
    if (!known) names.push_back(name);
  }
  return names;
}

void TensorLoader::finish() {
  const std::vector<std::string> left = unexpected();
  std::vector<std::string> lines = problems_.list();
  std::vector<std::string> candidates(
      left.begin(), left.begin() + static_cast<std::ptrdiff_t>(std::min(left.size(), kMaxCandidates)));
  std::vector<std::string> missing, extra;
  for (const auto& [name, shape] : missing_) {
    missing.push_back(str(what_, ": tensor ", quote_name(name), " of shape ", shape_text(shape),
                          " is missing", missing.size() < kMaxGuesses ? did_you_mean(name, candidates) : ""));
  }
  for (const auto& name : left) {
    if (extra.size() > kMaxListed) break;
    const StoredTensor& stored = *store_.find(stored_name_.at(name));
    extra.push_back(str(what_, ": tensor ", quote_name(stored_name_.at(name)), " of shape ",
                        shape_text(stored.shape), " in ", stored.file->path().string(),
                        " is not a part of the model that the config describes"));
  }
  extra.resize(left.size());  // counted, though only the first are written out
  list_up_to(missing, "missing", lines);
  list_up_to(misfits_, "misshaped", lines);
  list_up_to(extra, "unexpected", lines);
  if (!lines.empty() && !hint_.empty()) lines.push_back(str(what_, ": ", hint_));
  if (!lines.empty()) throw UserError(lines);
  if (shelf_) shelf_->finish();
}

}  // namespace rushes
