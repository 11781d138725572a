#pragma once
// Runs one component of a model folder on given tensors and writes what it gives, so that it can be held
// beside its reference. Names of tensors are diffusers' and transformers'; floats come out in float32, ids in
// int64.
//
// transformer: hidden_states [batch, channels, frames, height, width], timestep [batch] or [batch, tokens],
//     encoder_hidden_states [batch, text tokens, text dim]; where the model takes them also
//     encoder_hidden_states_image [images, tokens, dim], encoder_attention_mask [batch, text tokens],
//     pooled_projections [batch, dim], guidance [batch] -> sample
// vae decode: z [batch, latent channels, frames, height, width], as given to diffusers' vae.decode -> sample
// vae encode: x [batch, 3, frames, height, width] -> mean, logvar (clamped to [-30, 20])
// text encoder: input_ids, attention_mask [batch, tokens] -> last_hidden_state, hidden_states.N (0 the
//     embeddings), pooler_output where the model has one
// tokenizer: --text, cleaned as the pipeline cleans it -> input_ids, attention_mask [1, max length]
// scheduler: sample [...], model_outputs [steps, ...] -> timesteps [steps], sigmas [steps + 1],
//     samples [steps, ...]: the sample after each step
//
// What a component is follows from its class in model_index.json.

#include <filesystem>
#include <optional>
#include <string>

#include "config/settings.h"
#include "dist/groups.h"
#include "models/tokenizers/prompt_clean.h"

namespace rushes {

struct ProbeRequest {
  std::filesystem::path model;
  std::string component;                    // a key of model_index.json
  std::filesystem::path out;                // safetensors
  std::optional<std::filesystem::path> in;  // safetensors
  std::optional<std::string> method;        // of a VAE: "decode" or "encode"
  std::optional<std::string> text;          // for a tokenizer
  std::optional<int64_t> max_length;        // tokens, for a tokenizer
  std::optional<int64_t> steps;             // for a scheduler
  std::optional<std::filesystem::path>
      trace;  // JSON lines, one a layer: layer, shape, dtype, mean, std, min, max, l2
  // Type of the parameters. Inputs are cast as a pipeline of that type has them: a model's to the type of its
  // main parameters (timesteps and masks stay), a scheduler's model_outputs; its sample stays float32.
  Dtype dtype = Dtype::float32;
  // The ranks that run it together, each with the same request; the first one writes. nullptr: this one
  // alone.
  const Groups* groups = nullptr;
};

/// Throws UserError, before anything is written, with all that is wrong with the request or with the inputs.
void run_probe(const ProbeRequest& request, const NormalizeNfc& normalize_nfc);

}  // namespace rushes
