#include "pipelines/component.h"

#include "base/lower.h"
#include "base/quote.h"
#include "config/settings.h"

namespace rushes {
namespace {

/// The component, of a class that is known.
const ComponentEntry& known_component(const ModelDir& model, const std::string& key,
                                      const std::string& kind) {
  const ComponentEntry& entry = model.require(key);
  check_class(kind, entry.class_name, str(model.index_place(), ": '", key, "'"));
  return entry;
}

/// A config of transformers names no class of its own, but the family and the class of the model that was
/// saved, which may be a larger one around this encoder (UMT5ForConditionalGeneration).
void check_family(const ModelDir& model, const ComponentEntry& entry, const nlohmann::json& config) {
  const std::string family = entry.class_name.substr(0, entry.class_name.find("EncoderModel"));
  const std::string type = lower(family);
  const std::string where = (model.component_path(entry.key) / "config.json").string();
  const std::string stated =
      str(", but ", model.index_place(), " says that '", entry.key, "' is '", entry.class_name, "', ");
  Problems problems;
  const auto of_type = config.find("model_type");
  if (of_type != config.end() && !of_type->is_null()) {
    if (!of_type->is_string())
      problems.add(where, ": model_type: must be a text, found ", of_type->type_name());
    else if (*of_type != type)
      problems.add(where, ": model_type: is ", quote_name(of_type->get<std::string>()), stated,
                   "which needs '", type, "'; is it another model's folder?");
  }
  const auto classes = config.find("architectures");
  if (classes != config.end() && !classes->is_null()) {
    const nlohmann::json list = classes->is_array() ? *classes : nlohmann::json::array({nullptr});
    for (const auto& name : list) {
      if (!name.is_string())
        problems.add(where, ": architectures: must be a list of texts, found ",
                     (classes->is_array() ? name : *classes).type_name());
      else if (!name.get<std::string>().starts_with(family))
        problems.add(where, ": architectures: names ", quote_name(name.get<std::string>()), stated,
                     "whose config names one that begins with '", family, "'");
    }
  }
  problems.throw_if_any();
}

/// Opens the component's tensors, hands them to `make`, and lets the mapping live as long as the tensors do.
template <class Make>
auto load_with(const ModelDir& model, const std::string& key, const std::string& kind, LoadOptions options,
               Make make) {
  const ComponentEntry& entry = known_component(model, key, kind);
  const nlohmann::json config = model.component_config(key);
  if (kind == "text_encoder") check_family(model, entry, config);
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
  return load_with(model, key, "transformer", options, make_transformer);
}

std::shared_ptr<const Vae> load_vae(const ModelDir& model, const std::string& key, LoadOptions options) {
  return load_with(model, key, "vae", options, make_vae);
}

std::shared_ptr<const TextEncoder> load_text_encoder(const ModelDir& model, const std::string& key,
                                                     LoadOptions options) {
  return load_with(model, key, "text_encoder", options, make_text_encoder);
}

std::shared_ptr<const Scheduler> load_scheduler(const ModelDir& model, const std::string& key) {
  const ComponentEntry& entry = known_component(model, key, "scheduler");
  return make_scheduler(entry.class_name, model.component_config(key),
                        (model.component_path(key) / "scheduler_config.json").string());
}

std::shared_ptr<const Tokenizer> load_tokenizer(const ModelDir& model, const std::string& key) {
  const ComponentEntry& entry = known_component(model, key, "tokenizer");
  const auto file = [&](const char* name) { return model.component_file(key, name).value_or(""); };
  const TokenizerFiles files{.tokenizer_json = file("tokenizer.json"),
                             .sentencepiece = file("spiece.model"),
                             .tokenizer_config = file("tokenizer_config.json"),
                             .special_tokens_map = file("special_tokens_map.json")};
  return make_tokenizer(entry.class_name, files, model.component_path(key).string());
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
