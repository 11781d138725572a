#include "models/registry.h"

#include <algorithm>

#include "base/error.h"
#include "base/nearest.h"
#include "base/quote.h"
#include "models/dits/wan.h"
#include "models/encoders/umt5.h"
#include "models/schedulers/flow_match_euler.h"
#include "models/schedulers/unipc.h"
#include "models/tokenizers/t5.h"
#include "models/vaes/wan_vae.h"

namespace rushes {
namespace {

template <class Factory>
struct Row {
  const char* class_name;
  Factory* make;
};

using MakeTransformer = std::unique_ptr<Transformer>(const nlohmann::json&, TensorLoader&,
                                                     const std::string&);
using MakeVae = std::unique_ptr<Vae>(const nlohmann::json&, TensorLoader&, const std::string&);
using MakeTextEncoder = std::unique_ptr<TextEncoder>(const nlohmann::json&, TensorLoader&,
                                                     const std::string&);
using MakeScheduler = std::unique_ptr<Scheduler>(const nlohmann::json&, const std::string&);
using MakeTokenizer = std::unique_ptr<Tokenizer>(const TokenizerFiles&, const std::string&);

// The families. One row a class; keep them in the order of the alphabet.
const std::vector<Row<MakeTransformer>> kTransformers = {
    {"WanTransformer3DModel", make_wan_transformer},
};
const std::vector<Row<MakeVae>> kVaes = {
    {"AutoencoderKLWan", make_wan_vae},
};
const std::vector<Row<MakeTextEncoder>> kTextEncoders = {
    {"T5EncoderModel", make_t5_encoder},
    {"UMT5EncoderModel", make_umt5_encoder},
};
const std::vector<Row<MakeScheduler>> kSchedulers = {
    {"FlowMatchEulerDiscreteScheduler", make_flow_match_euler},
    {"UniPCMultistepScheduler", make_unipc},
};
const std::vector<Row<MakeTokenizer>> kTokenizers = {
    {"PreTrainedTokenizerFast", make_fast_tokenizer},
    {"T5Tokenizer", make_t5_tokenizer},
    {"T5TokenizerFast", make_t5_tokenizer},
    {"TokenizersBackend", make_fast_tokenizer},
};

template <class Factory>
std::vector<std::string> names(const std::vector<Row<Factory>>& rows) {
  std::vector<std::string> result;
  for (const auto& row : rows)
    result.emplace_back(row.class_name);
  return result;
}

template <class Factory>
Factory& find(const std::vector<Row<Factory>>& rows, const std::string& class_name, const char* kind,
              const std::string& where) {
  check_class(kind, class_name, where);
  return *std::find_if(rows.begin(), rows.end(), [&](const auto& row) {
            return class_name == row.class_name;
          })->make;
}

}  // namespace

std::unique_ptr<Transformer> make_transformer(const std::string& class_name, const nlohmann::json& config,
                                              TensorLoader& loader, const std::string& where) {
  return find(kTransformers, class_name, "transformer", where)(config, loader, where);
}

std::unique_ptr<Vae> make_vae(const std::string& class_name, const nlohmann::json& config,
                              TensorLoader& loader, const std::string& where) {
  return find(kVaes, class_name, "vae", where)(config, loader, where);
}

std::unique_ptr<TextEncoder> make_text_encoder(const std::string& class_name, const nlohmann::json& config,
                                               TensorLoader& loader, const std::string& where) {
  return find(kTextEncoders, class_name, "text_encoder", where)(config, loader, where);
}

std::unique_ptr<Scheduler> make_scheduler(const std::string& class_name, const nlohmann::json& config,
                                          const std::string& where) {
  return find(kSchedulers, class_name, "scheduler", where)(config, where);
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& class_name, const TokenizerFiles& files,
                                          const std::string& where) {
  return find(kTokenizers, class_name, "tokenizer", where)(files, where);
}

void check_class(const std::string& kind, const std::string& class_name, const std::string& where) {
  const std::vector<std::string> known = known_classes(kind);
  if (std::find(known.begin(), known.end(), class_name) != known.end()) return;
  const std::string word = kind == "vae" ? "VAE" : kind == "text_encoder" ? "text encoder" : kind;
  fail(where, ": ", quote_name(class_name), " is no ", word, " that this version can run (it can run ",
       join(known, ", "), ")", did_you_mean(class_name, known));
}

std::vector<std::string> known_classes(const std::string& kind) {
  if (kind == "transformer") return names(kTransformers);
  if (kind == "vae") return names(kVaes);
  if (kind == "text_encoder") return names(kTextEncoders);
  if (kind == "scheduler") return names(kSchedulers);
  if (kind == "tokenizer") return names(kTokenizers);
  throw InternalError("no component kind '" + kind + "'");
}

}  // namespace rushes
