#include "pipelines/component.h"

#include "config/settings.h"

namespace rushes {
namespace {

/// Opens the component's tensors, hands them to `make`, and lets the mapping live as long as the tensors do.
template <class Make>
auto load_with(const ModelDir& model, const std::string& key, LoadOptions options, Make make) {
  const ComponentEntry& entry = model.require(key);
  const nlohmann::json config = model.component_config(key);
  const TensorStore store = options.invented ? TensorStore() : model.component_tensors(key);
  TensorLoader loader(store, options, component_place(model, key));
  return make(entry.class_name, config, loader, (model.component_path(key) / "config.json").string());
}

}  // namespace

std::string component_place(const ModelDir& model, const std::string& key) {
  return str(key, " (", model.component_path(key).string(), ")");
}

std::shared_ptr<const Transformer> load_transformer(const ModelDir& model, const std::string& key,
                                                    LoadOptions options) {
  return load_with(model, key, options, make_transformer);
}

std::shared_ptr<const Vae> load_vae(const ModelDir& model, const std::string& key, LoadOptions options) {
  return load_with(model, key, options, make_vae);
}

std::shared_ptr<const TextEncoder> load_text_encoder(const ModelDir& model, const std::string& key,
                                                     LoadOptions options) {
  return load_with(model, key, options, make_text_encoder);
}

std::shared_ptr<const Scheduler> load_scheduler(const ModelDir& model, const std::string& key) {
  return make_scheduler(model.require(key).class_name, model.component_config(key),
                        (model.component_path(key) / "scheduler_config.json").string());
}

std::shared_ptr<const Tokenizer> load_tokenizer(const ModelDir& model, const std::string& key) {
  const auto file = [&](const char* name) { return model.component_file(key, name).value_or(""); };
  const TokenizerFiles files{.tokenizer_json = file("tokenizer.json"),
                             .sentencepiece = file("spiece.model"),
                             .tokenizer_config = file("tokenizer_config.json"),
                             .special_tokens_map = file("special_tokens_map.json")};
  return make_tokenizer(model.require(key).class_name, files, model.component_path(key).string());
}

at::ScalarType scalar_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32:
      return at::kFloat;
    case Dtype::bfloat16:
      return at::kBFloat16;
    case Dtype::float16:
      return at::kHalf;
  }
  throw InternalError("a Dtype without a ScalarType");
}

}  // namespace rushes
