#pragma once
// Components of a model folder made by the registry: weights from the folder's safetensors, or, on the meta
// device, from their headers alone, which finds everything that is wrong with names, shapes and configs
// without reading data.

#include <memory>
#include <string>

#include "config/settings.h"
#include "models/registry.h"
#include "weights/model_dir.h"

namespace rushes {

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
