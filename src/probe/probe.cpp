#include "probe/probe.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "pipelines/component.h"
#include "probe/probe_inputs.h"
#include "weights/model_dir.h"
#include "weights/words.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using Tensors = std::map<std::string, at::Tensor>;

/// Undefined stays undefined, for inputs that were noted as wrong.
at::Tensor cast(const at::Tensor& tensor, at::ScalarType dtype) {
  return tensor.defined() ? tensor.to(dtype) : tensor;
}
std::optional<at::Tensor> cast(const std::optional<at::Tensor>& tensor, at::ScalarType dtype) {
  if (!tensor) return {};
  return tensor->to(dtype);
}

/// A side's size, or nothing where the tensor was refused.
std::optional<int64_t> size_of(const at::Tensor& tensor, int64_t dim) {
  if (!tensor.defined()) return {};
  return tensor.size(dim);
}

/// A whole number that a config may state.
std::optional<int64_t> config_integer(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_integer()) return {};
  return found->get<int64_t>();
}

class Probe {
 public:
  Probe(const ProbeRequest& request, const NormalizeNfc& normalize_nfc)
      : request_(request),
        normalize_nfc_(normalize_nfc),
        model_(ModelDir::open(request.model)),
        kind_(kind_of(model_.require(request.component).class_name)) {
    if (request.trace) context_.trace = &trace_;
    if (const Groups* groups = request.groups) {
      sp_ = {&groups->ulysses, &groups->ring, &groups->sp};
      context_.sp = &sp_;
      context_.vae = &groups->vae;
    }
  }

  Tensors run() {
    check_request();
    if (kind_ == "transformer") return transformer();
    if (kind_ == "vae") return vae();
    if (kind_ == "text_encoder") return text_encoder();
    if (kind_ == "tokenizer") return tokenizer();
    return scheduler();
  }
  const Trace& trace() const { return trace_; }

 private:
  std::string kind_of(const std::string& class_name) const {
    std::vector<std::string> all;
    for (const char* kind : {"transformer", "vae", "text_encoder", "tokenizer", "scheduler"}) {
      const std::vector<std::string> classes = known_classes(kind);
      if (std::find(classes.begin(), classes.end(), class_name) != classes.end()) return kind;
      all.insert(all.end(), classes.begin(), classes.end());
    }
    fail("component '", request_.component, "' of ", request_.model.string(), " is of class ",
         quote_name(class_name), ", which this version cannot run (it can run ", join(all, ", "), ")");
  }

  /// Options that this kind needs and lacks, or has and does not use.
  void check_request() const {
    Problems problems;
    const auto option = [&](const char* name, bool given, std::initializer_list<const char*> kinds) {
      const bool used =
          std::any_of(kinds.begin(), kinds.end(), [&](const char* kind) { return kind_ == kind; });
      if (given != used) {
        problems.add("component '", request_.component, "' is a ", kind_words(),
                     used ? ": give --" : ": it takes no --", name);
      }
    };
    option("in", request_.in.has_value(), {"transformer", "vae", "text_encoder", "scheduler"});
    option("method", request_.method.has_value(), {"vae"});
    option("text", request_.text.has_value(), {"tokenizer"});
    option("max-length", request_.max_length.has_value(), {"tokenizer"});
    option("steps", request_.steps.has_value(), {"scheduler"});
    if (request_.trace && (kind_ == "tokenizer" || kind_ == "scheduler")) {
      problems.add("component '", request_.component, "' is a ", kind_words(),
                   ": it has no layers to --trace");
    }
    if (kind_ == "vae" && request_.method && *request_.method != "decode" && *request_.method != "encode") {
      problems.add("--method ", quote_name(*request_.method), ": a VAE has decode and encode");
    }
    constexpr int64_t kMost = 100'000;
    const auto count = [&](const char* name, const std::optional<int64_t>& value) {
      if (value && (*value < 1 || *value > kMost))
        problems.add("--", name, " ", *value, ": needs 1 to ", kMost);
    };
    count("max-length", request_.max_length);
    count("steps", request_.steps);
    problems.throw_if_any();
  }

  std::string kind_words() const {
    return kind_ == "vae" ? "VAE" : kind_ == "text_encoder" ? "text encoder" : kind_;
  }
  LoadOptions options(const Comm Groups::*together = nullptr) const {
    LoadOptions options{.device = at::kCPU, .dtype = scalar_type(request_.dtype)};
    if (together != nullptr && request_.groups != nullptr) options.tp = &(request_.groups->*together);
    return options;
  }

  Tensors transformer() {
    const auto model = load_transformer(model_, request_.component, options(&Groups::dit_tp));
    ProbeInputs inputs(*request_.in);
    const std::vector<int64_t> patch = model->patch_size();
    TransformerInputs given;
    const at::Tensor& hidden = given.hidden_states =
        inputs.required("hidden_states", Values::floating,
                        {{"batch"}, {"channels", model->in_channels()}, {"frames"}, {"height"}, {"width"}});
    int64_t tokens = 1;
    for (size_t i = 0; hidden.defined() && i < patch.size(); ++i) {
      const int64_t side = hidden.size(static_cast<int64_t>(i) + 2);
      tokens *= side / patch[i];
      if (side % patch[i] != 0) {
        inputs.problem("tensor 'hidden_states' has shape ", shape_text(hidden.sizes()),
                       "; frames, height and width must be multiples of ", join(patch, ", "));
      }
    }
    const Side batch{"batch", size_of(hidden, 0)};
    given.timestep = timestep(inputs, batch, hidden.defined() ? std::optional(tokens) : std::nullopt);
    const at::Tensor& text = given.encoder_hidden_states = inputs.required(
        "encoder_hidden_states", Values::floating, {batch, {"tokens"}, {"dim", model->text_dim()}});
    given.encoder_hidden_states_image =
        inputs.optional("encoder_hidden_states_image", Values::floating, {{"images"}, {"tokens"}, {"dim"}});
    given.encoder_attention_mask =
        inputs.optional("encoder_attention_mask", Values::any, {batch, {"tokens", size_of(text, 1)}});
    given.pooled_projections = inputs.optional("pooled_projections", Values::floating, {batch, {"dim"}});
    given.guidance = inputs.optional("guidance", Values::floating, {batch});
    inputs.finish();

    // What a pipeline of this type has: latents and embeddings in it, times as the scheduler gives them.
    const at::ScalarType dtype = model->dtype();
    given.hidden_states = cast(given.hidden_states, dtype);
    given.encoder_hidden_states = cast(given.encoder_hidden_states, dtype);
    given.encoder_hidden_states_image = cast(given.encoder_hidden_states_image, dtype);
    given.pooled_projections = cast(given.pooled_projections, dtype);
    return {{"sample", model->forward(given, context_)}};
  }

  static at::Tensor timestep(ProbeInputs& inputs, const Side& batch, std::optional<int64_t> tokens) {
    std::vector<Side> sides = {batch};
    if (inputs.rank("timestep") == 2) sides.push_back({"tokens", tokens});
    return inputs.required("timestep", Values::any, sides);
  }

  Tensors vae() {
    if (request_.groups != nullptr && !request_.groups->in_vae) return {};
    const auto model = load_vae(model_, request_.component, options());
    ProbeInputs inputs(*request_.in);
    const bool decode = *request_.method == "decode";
    const Side channels = decode ? Side{"latent channels", model->latent_channels()}
                                 : Side{"channels", model->input_channels()};
    const at::Tensor input = inputs.required(decode ? "z" : "x", Values::floating,
                                             {{"batch"}, channels, {"frames"}, {"height"}, {"width"}});
    inputs.finish();
    if (decode) return {{"sample", model->decode(input.to(model->dtype()), context_)}};
    const LatentDistribution latents = model->encode(input.to(model->dtype()), context_);
    return {{"mean", latents.mean}, {"logvar", latents.logvar}};
  }

  Tensors text_encoder() {
    if (request_.groups != nullptr && !request_.groups->in_tp) return {};
    const auto model = load_text_encoder(model_, request_.component, options(&Groups::tp));
    ProbeInputs inputs(*request_.in);
    const at::Tensor ids = inputs.required("input_ids", Values::whole, {{"batch"}, {"tokens"}});
    const at::Tensor mask = inputs.required("attention_mask", Values::any,
                                            {{"batch", size_of(ids, 0)}, {"tokens", size_of(ids, 1)}});
    const auto words = config_integer(model_.component_config(request_.component), "vocab_size");
    if (ids.defined() && words) {
      const int64_t low = ids.min().to(at::kLong).item<int64_t>();
      const int64_t high = ids.max().to(at::kLong).item<int64_t>();
      if (low < 0 || high >= *words) {
        inputs.problem("tensor 'input_ids' has ids from ", low, " to ", high, "; the model knows 0 to ",
                       *words - 1);
      }
    }
    if (mask.defined() && !((mask == 0) | (mask == 1)).all().item<bool>()) {
      inputs.problem("tensor 'attention_mask' needs 1 (a token) and 0 (padding) only");
    }
    inputs.finish();
    const TextEncoderOutput output =
        model->forward(ids.to(at::kLong), mask.to(at::kLong), /*all_hidden_states=*/true, context_);
    Tensors tensors = {{"last_hidden_state", output.last_hidden_state}};
    if (output.pooler_output) tensors["pooler_output"] = *output.pooler_output;
    for (size_t i = 0; i < output.hidden_states.size(); ++i)
      tensors[str("hidden_states.", i)] = output.hidden_states[i];
    return tensors;
  }

  Tensors tokenizer() {
    const auto model = load_tokenizer(model_, request_.component);
    const TokenIds ids = model->encode(clean_prompt(*request_.text, normalize_nfc_), *request_.max_length);
    return {{"input_ids", at::tensor(ids.input_ids, at::kLong).unsqueeze(0)},
            {"attention_mask", at::tensor(ids.attention_mask, at::kLong).unsqueeze(0)}};
  }

  Tensors scheduler() {
    const auto model = load_scheduler(model_, request_.component);
    ProbeInputs inputs(*request_.in);
    at::Tensor sample = inputs.required_of_any_shape("sample");
    std::vector<Side> sides = {{"steps", *request_.steps}};
    if (sample.defined()) {
      for (const int64_t size : sample.sizes())
        sides.push_back({"as sample", size});
    } else {
      // Only the steps can be checked; the rest is taken as it comes.
      for (int64_t i = 1; i < inputs.rank("model_outputs").value_or(1); ++i)
        sides.push_back({"as sample"});
    }
    at::Tensor outputs = inputs.required("model_outputs", Values::floating, sides);
    inputs.finish();
    sample = sample.to(at::kFloat);
    outputs = outputs.to(scalar_type(request_.dtype));
    const auto run = model->start(*request_.steps, /*flow_shift=*/{});
    std::vector<at::Tensor> samples;
    for (int64_t i = 0; i < *request_.steps; ++i) {
      sample = run->step(outputs.select(0, i), sample);
      samples.push_back(sample);
    }
    return {{"timesteps", run->timesteps().to(at::kFloat)},
            {"sigmas", run->sigmas()},
            {"samples", at::stack(samples)}};
  }

  const ProbeRequest& request_;
  const NormalizeNfc& normalize_nfc_;
  ModelDir model_;
  std::string kind_;
  Trace trace_;
  StepContext context_;
  SequenceParallel sp_;
};

std::string trace_lines(const Trace& trace) {
  std::string lines;
  for (const TraceRow& row : trace.rows()) {
    const nlohmann::ordered_json line = {{"layer", row.layer}, {"shape", row.shape}, {"dtype", row.dtype},
                                         {"mean", row.mean},   {"std", row.std},     {"min", row.min},
                                         {"max", row.max},     {"l2", row.l2}};
    lines += line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  return lines;
}

}  // namespace

void run_probe(const ProbeRequest& request, const NormalizeNfc& normalize_nfc) {
  Problems problems;
  // Said before the work, not after.
  const auto check = [&](const char* option, const fs::path& path) {
    if (const std::string problem = file_problem(path); !problem.empty())
      problems.add("--", option, " ", path.string(), ": ", problem);
  };
  check("out", request.out);
  if (request.trace) check("trace", *request.trace);
  problems.throw_if_any();
  const c10::InferenceMode inference;
  Probe probe(request, normalize_nfc);
  Tensors results = probe.run();
  if (request.groups != nullptr && !request.groups->leads()) return;
  for (auto& [name, tensor] : results)
    tensor = tensor.to(at::kCPU, at::isFloatingType(tensor.scalar_type()) ? at::kFloat : at::kLong);
  const std::string owner = str("probe-", ::getpid());
  if (request.trace) write_file_atomic(*request.trace, trace_lines(probe.trace()), owner);
  write_safetensors(request.out, results, {}, owner);
}

}  // namespace rushes
