#pragma once
// Hands a model its parameters by name and keeps the books: what is missing, misshaped or left over is listed
// at once.

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "dist/comm.h"
#include "weights/node_memory.h"
#include "weights/tensor_store.h"

namespace rushes {

struct LoadOptions {
  at::Device device = at::kCPU;       // on the meta device names and shapes are checked and no data is read
  at::ScalarType dtype = at::kFloat;  // of parameters that the model does not keep in another type
  bool invented = false;              // for timing: no tensors are read, parameters are small random numbers
  const Comm* tp = nullptr;  // ranks that hold the component together; nullptr: this one holds it all
  NodeMemory* node_memory = nullptr;  // on a CPU: shared by processes that load the same; or nothing
};

/// A run of a dimension: this rank's of what is dealt out.
struct Share {
  int64_t begin = 0, count = 0;
  /// Of things that are `unit` numbers each.
  Share operator*(int64_t unit) const { return {begin * unit, count * unit}; }
};
/// `total` things dealt out over the ranks of `group` as evenly as can be, the longer shares first; nullptr:
/// all.
Share share_of(int64_t total, const Comm* group);

/// A parameter, or the part of it that this rank holds.
struct Parameter {
  std::string name;
  std::vector<int64_t> shape;                // whole
  std::optional<at::ScalarType> dtype = {};  // default: the loader's
  int64_t dim = 0;
  std::optional<Share> share = {};  // along `dim`; default: all
};

/// A renaming of stored names, as data: the first rule whose `from` starts the name replaces that start by
/// `to`.
struct NameRule {
  std::string from;
  std::string to;
};

class TensorLoader {
 public:
  /// `what` names the component in messages ("transformer (models/x/transformer)"). `store` must outlive the
  /// loader. With node_memory it waits while another process loads the same component.
  TensorLoader(const TensorStore& store, LoadOptions options, std::string what,
               std::vector<NameRule> rules = {});

  const LoadOptions& options() const { return options_; }
  bool has(const std::string& name) const;
  /// The shape of a stored tensor, or nothing.
  std::optional<std::vector<int64_t>> shape(const std::string& name) const;

  /// The parameter `name` of exactly this shape, in `dtype` (default: options().dtype), on options().device.
  /// CPU parameters already stored in that type are views of the mapping. A missing or misshaped one is
  /// noted, and a tensor of the right shape full of NaN (strides 0, no memory) is given, so that everything
  /// wrong is found in one pass; floats stored for whole numbers, or the other way round, likewise. Throws
  /// only where going on is pointless: a shape that no memory can hold, or ten thousand tensors missing.
  at::Tensor take(const std::string& name, at::IntArrayRef shape, std::optional<at::ScalarType> dtype = {});
  /// The part `share` along `dim` of the parameter `name`, whose whole shape is `shape`; only it is read.
  at::Tensor take_part(const std::string& name, at::IntArrayRef shape, int64_t dim, Share share,
                       std::optional<at::ScalarType> dtype = {});
  /// What `make` makes of parameters, in their order: joined, cast, packed. With node_memory one process
  /// makes it. Undefined where one of them was noted as wrong.
  at::Tensor make(const std::vector<Parameter>& parameters,
                  const std::function<at::Tensor(const std::vector<at::Tensor>&)>& make);
  /// Stored tensors that the model knowingly does not use (by exact name or, ending in '*', by start).
  void ignore(const std::string& pattern);
  /// What else to say where tensors do not fit the config; "": nothing.
  void explain(std::string hint) { hint_ = std::move(hint); }
  /// Throws UserError that lists every missing (with the nearest name left over), misshaped (both shapes) and
  /// unexpected tensor with its file; of each kind the first 200. Else what was made is there for others.
  void finish();

 private:
  struct Missing {
    std::string name;
    std::vector<int64_t> shape;
  };
  /// The stored tensor behind a parameter, or nullptr: noted.
  const StoredTensor* find(const Parameter& parameter);
  at::Tensor read(const Parameter& parameter, const StoredTensor* stored) const;
  std::vector<int64_t> part_shape(const Parameter& parameter) const;
  at::ScalarType dtype_of(const Parameter& parameter) const {
    return parameter.dtype.value_or(options_.dtype);
  }
  /// Model's names of stored tensors that were neither taken nor ignored.
  std::vector<std::string> unexpected() const;

  const TensorStore& store_;
  LoadOptions options_;
  std::string what_;
  std::string hint_;
  std::unique_ptr<Shelf> shelf_;
  std::map<std::string, std::string> stored_name_;  // model's name -> stored name
  std::set<std::string> taken_;
  std::vector<std::string> ignored_;
  std::vector<Missing> missing_;
  std::vector<std::string> misfits_;
  Problems problems_;
};

}  // namespace rushes
