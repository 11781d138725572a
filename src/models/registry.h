#pragma once
// The one list of model families: class name (as in model_index.json) -> how to make it.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/interfaces.h"
#include "weights/tensor_loader.h"

namespace rushes {

// Each throws UserError where the class is not known (listing those that are) or the config is unusable.
// `where` names the component's files in messages. The loader's finish() is called inside.
std::unique_ptr<Transformer> make_transformer(const std::string& class_name, const nlohmann::json& config,
                                              TensorLoader& loader, const std::string& where);
std::unique_ptr<Vae> make_vae(const std::string& class_name, const nlohmann::json& config,
                              TensorLoader& loader, const std::string& where);
std::unique_ptr<TextEncoder> make_text_encoder(const std::string& class_name, const nlohmann::json& config,
                                               TensorLoader& loader, const std::string& where);
std::unique_ptr<Scheduler> make_scheduler(const std::string& class_name, const nlohmann::json& config,
                                          const std::string& where);

/// The files a tokenizer can be made from, as bytes; absent ones are empty.
struct TokenizerFiles {
  std::string tokenizer_json;      // tokenizer.json
  std::string sentencepiece;       // spiece.model
  std::string tokenizer_config;    // tokenizer_config.json
  std::string special_tokens_map;  // special_tokens_map.json
};
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& class_name, const TokenizerFiles& files,
                                          const std::string& where);

/// Throws UserError where no class of this kind is called so, listing those that are; `where` names the place
/// of the word ("m/model_index.json: 'vae'").
void check_class(const std::string& kind, const std::string& class_name, const std::string& where);

/// Class names by kind ("transformer", "vae", "text_encoder", "tokenizer", "scheduler"), for messages and
/// doctor.
std::vector<std::string> known_classes(const std::string& kind);

}  // namespace rushes
