#pragma once
// What a pipeline needs of each kind of component. A family implements these; registry.h finds the family by
// the class name in model_index.json. No model opens files: parameters come from a TensorLoader, tokenizers
// from bytes.

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attention/step_context.h"

namespace rushes {

/// Work of one forward pass: floating-point operations, bytes of parameters, bytes of peak activations.
struct Cost {
  double flops = 0;
  double weight_bytes = 0;
  double activation_bytes = 0;
};

/// Inputs by diffusers' names. Dtypes are the caller's; the model casts as its reference does.
struct TransformerInputs {
  at::Tensor hidden_states;          // [batch, channels, frames, height, width] (latents)
  at::Tensor timestep;               // [batch] or [batch, tokens], 0..1000
  at::Tensor encoder_hidden_states;  // [batch, text tokens, text dim]
  std::optional<at::Tensor> encoder_hidden_states_image;  // [batch, image tokens, image dim]
  std::optional<at::Tensor> encoder_attention_mask;       // [batch, text tokens], 1 = attend
  std::optional<at::Tensor> pooled_projections;           // [batch, pooled dim]
  std::optional<at::Tensor> guidance;                     // [batch], embedded guidance
};

class Transformer {
 public:
  virtual ~Transformer() = default;
  /// -> [batch, out channels, frames, height, width]
  virtual at::Tensor forward(const TransformerInputs& inputs, const StepContext& context) const = 0;
  virtual int64_t in_channels() const = 0;
  virtual int64_t out_channels() const = 0;
  virtual int64_t text_dim() const = 0;
  virtual std::vector<int64_t> patch_size() const = 0;  // latent frames, rows, columns of one token
  virtual int64_t max_positions() const = 0;            // most tokens along each of the three axes
  virtual at::ScalarType dtype() const = 0;             // of its main parameters: what inputs are cast to
};

/// Posterior of an encoder, logvar clamped to [-30, 20].
struct LatentDistribution {
  at::Tensor mean, logvar;  // [batch, latent channels, frames, height, width]
};

class Vae {
 public:
  virtual ~Vae() = default;
  // Where context.vae is a group of several ranks, each of them calls with the same input, all in the same
  // order; they work together and the result is that of one rank alone to 1e-5 in float32.

  /// z: [batch, latent channels, latent frames, latent height, latent width] as given to diffusers'
  /// vae.decode (not normalised) -> video [batch, video channels, frames, height, width], clamped to [-1, 1].
  /// Of a group rank 0 gets the video, the others an undefined tensor.
  virtual at::Tensor decode(const at::Tensor& z, const StepContext& context) const = 0;
  /// x: [batch, input channels, frames, height, width] in [-1, 1]. Every rank of a group gets the result.
  virtual LatentDistribution encode(const at::Tensor& x, const StepContext& context) const = 0;
  virtual at::ScalarType dtype() const = 0;
  virtual int64_t latent_channels() const = 0;  // z_dim
  virtual int64_t spatial_ratio() const = 0;    // pixels a latent row or column
  virtual int64_t temporal_ratio() const = 0;   // frames a latent frame, after the first
  // What the layers themselves do, whatever the config states above.
  virtual int64_t built_spatial_ratio() const = 0;
  virtual int64_t built_temporal_ratio() const = 0;
  virtual int64_t input_channels() const = 0;  // of the video that encode takes
  virtual int64_t video_channels() const = 0;  // of the one that decode gives
  /// Of each latent channel: normalised latents are (z - mean) / std.
  virtual const std::vector<double>& latents_mean() const = 0;
  virtual const std::vector<double>& latents_std() const = 0;
};

struct TextEncoderOutput {
  at::Tensor last_hidden_state;             // [batch, tokens, dim]
  std::optional<at::Tensor> pooler_output;  // [batch, dim]
  std::vector<at::Tensor> hidden_states;    // transformers' numbering: 0 the embeddings; only when asked for
};

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  /// input_ids, attention_mask: int64 [batch, tokens].
  virtual TextEncoderOutput forward(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                                    bool all_hidden_states, const StepContext& context) const = 0;
  virtual int64_t dim() const = 0;         // of last_hidden_state
  virtual int64_t vocabulary() const = 0;  // ids are below it
};

struct TokenIds {
  std::vector<int64_t> input_ids;
  std::vector<int64_t> attention_mask;  // 1 = a real token
  bool cut = false;                     // the text had more tokens than max_length
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Tokens of `text` with the model's special tokens, cut to and padded to `max_length`.
  virtual TokenIds encode(const std::string& text, int64_t max_length) const = 0;
  /// Ids are below it.
  virtual int64_t vocabulary() const = 0;
};

/// One sampling run's state lives in a SchedulerRun; Scheduler is the immutable configuration.
class SchedulerRun {
 public:
  virtual ~SchedulerRun() = default;
  virtual const at::Tensor& timesteps()
      const = 0;  // [steps], as the model is given them (int64 or float32, on CPU)
  virtual const at::Tensor& sigmas() const = 0;  // [steps + 1] float32
  /// One step: must be called for step 0, 1, ... in order. Tensors of any one shape; returns the next sample,
  /// in float32 arithmetic and `sample`'s dtype as diffusers does.
  virtual at::Tensor step(const at::Tensor& model_output, const at::Tensor& sample) = 0;

  /// What is remembered of the steps so far beside the sample, by name; empty where the next step needs
  /// nothing.
  virtual std::map<std::string, at::Tensor> history() const { return {}; }
  /// Of a run that has just been started: goes on behind step `done` - 1, whose history() this is, as if it
  /// had made the steps itself. Throws UserError for another history.
  virtual void resume(int64_t done, const std::map<std::string, at::Tensor>& history) = 0;
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  /// flow_shift: overrides the config's shift where set.
  virtual std::unique_ptr<SchedulerRun> start(int64_t steps, std::optional<double> flow_shift) const = 0;
  virtual int64_t train_timesteps() const = 0;  // num_train_timesteps
};

}  // namespace rushes
