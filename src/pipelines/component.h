#pragma once
// Components of a model folder made by the registry: weights from the folder's safetensors, or, on the meta
// device, from their headers alone, which finds everything that is wrong with names, shapes and configs
// without reading data.

#include <functional>
#include <memory>
#include <string>

#include "config/settings.h"
#include "models/registry.h"
#include "weights/model_dir.h"

namespace rushes {

/// A component whose weights can be let go of, and come again from the model's files when it is used next.
template <class Part>
class Reloadable {
 public:
  using Load = std::function<std::shared_ptr<const Part>()>;
  Reloadable() = default;  // there is none
  /// Loads at the first get().
  explicit Reloadable(Load load) : load_(std::move(load)) {}

  explicit operator bool() const { return static_cast<bool>(load_); }
  /// Throws what loading throws.
  const Part& get() {
    if (!part_) part_ = load_();
    return *part_;
  }
  bool held() const { return part_ != nullptr; }
  void release() { part_.reset(); }

 private:
  Load load_;
  std::shared_ptr<const Part> part_;
};

/// "transformer (models/x/transformer)", for messages.
std::string component_place(const ModelDir& model, const std::string& key);

std::shared_ptr<const Transformer> load_transformer(const ModelDir& model, const std::string& key,
                                                    LoadOptions options);
std::shared_ptr<const Vae> load_vae(const ModelDir& model, const std::string& key, LoadOptions options);
std::shared_ptr<const TextEncoder> load_text_encoder(const ModelDir& model, const std::string& key,
                                                     LoadOptions options);
std::shared_ptr<const Scheduler> load_scheduler(const ModelDir& model, const std::string& key);
std::shared_ptr<const Tokenizer> load_tokenizer(const ModelDir& model, const std::string& key);

at::ScalarType scalar_type(Dtype dtype);

}  // namespace rushes
