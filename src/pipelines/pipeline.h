#pragma once
// A pipeline as the rooms above see it: what it can take (Blueprint, no weights), and one that is loaded
// (Pipeline).

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attention/step_context.h"
#include "base/error.h"
#include "base/stop.h"
#include "config/settings.h"
#include "dist/groups.h"
#include "media/frames.h"
#include "models/interfaces.h"
#include "models/load.h"
#include "models/tokenizers/prompt_clean.h"
#include "weights/model_dir.h"
#include "weights/node_memory.h"

namespace rushes {

/// One clip to make: every setting resolved, one seed, one sample.
struct Request {
  std::string prompt;
  Sampling sampling;  // sampling.seed is this clip's seed; sampling.samples is 1
  std::shared_ptr<const Frames> pixels =
      nullptr;  // of a video to encode, in the size and number of `sampling`
};

/// Where and in which number formats a pipeline runs; everything resolved, nothing automatic.
struct PipelineOptions {
  at::Device device = at::kCPU;
  Dtype transformer = Dtype::float32;
  Dtype vae = Dtype::float32;
  Dtype text_encoder = Dtype::float32;
  AttentionBackend attention = AttentionBackend::automatic;
  NodeMemory* node_memory = nullptr;  // shared by ranks of the node that load the same; or nothing
  const Groups* groups = nullptr;     // the ranks that make each clip together; nullptr: this one alone
  bool encodes = false;               // load_encoder() is what will run: costs are of that
};

/// Text embeddings kept between items, runs and ranks; implemented above (on disk). Keys are file-name safe.
class EmbeddingStore {
 public:
  virtual ~EmbeddingStore() = default;
  virtual std::optional<at::Tensor> get(const std::string& key) = 0;
  virtual void put(const std::string& key, const at::Tensor& value) = 0;
};

/// Told of progress; called on the thread that runs the pipeline.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void on_stage(const std::string& stage) = 0;
  /// After denoising step `step` (from 0) of `steps`.
  virtual void on_step(int64_t step, int64_t steps, double seconds) = 0;
};

/// A clip that is not through: what denoising needs to go on as if it had never stopped.
struct Checkpoint {
  int64_t steps_done = 0;
  at::Tensor latents;                         // after them
  std::map<std::string, at::Tensor> history;  // see SchedulerRun
};

/// Keeps one clip's newest checkpoint; implemented above (on disk). Never fails the clip.
class CheckpointStore {
 public:
  virtual ~CheckpointStore() = default;
  virtual std::optional<Checkpoint> load() = 0;
  /// Time for the next one?
  virtual bool due() const = 0;
  virtual void save(const Checkpoint& checkpoint) = 0;
};

/// What a clip goes without, to be made in less memory.
struct MemoryRung {
  /// The VAE codes the picture in tiles that are blended where they overlap (StepContext::vae_tiles): the
  /// video is not that of a whole picture.
  bool tiles = false;
  /// Weights are in memory only while their stage works: those of the text encoder until the prompt is
  /// encoded, of the transformer (of two experts the one at work) while it denoises, of the VAE while it
  /// decodes. They come again from the model's files, which the system keeps in its file cache as far as
  /// there is room: so a GPU's memory is spared at the host's cost, and a process's own (packed weights, and
  /// what is kept of freed tensors) at that of reading. Ranks of a node that share their weights keep them
  /// (NodeMemory). Same bits.
  bool offload = false;

  bool operator==(const MemoryRung&) const = default;
};

struct RunContext {
  const StopToken& stop;                   // looked at between steps and stages: StoppedEarly on every rank
  EmbeddingStore* embeddings = nullptr;    // optional
  StepObserver* observer = nullptr;        // optional
  const Comm* replica = nullptr;           // the ranks that make the clip, in host memory; nullptr: this one
  CheckpointStore* checkpoints = nullptr;  // optional; of the rank that leads
  MemoryRung memory = {};                  // the same on every rank of the replica

  /// Throws StoppedEarly where this rank or another of the replica is to stop: all of them, at the same
  /// place.
  void check_stop(const char* before_what) const;
  /// Does this rank decide for the replica, and get what it makes?
  bool leads() const { return replica == nullptr || replica->rank() == 0; }
};

struct StageTime {
  std::string stage;
  double seconds = 0;
  // With others of the replica, on this rank:
  double waited = 0;       // seconds of them that it stood still for other ranks (on a GPU not known)
  int64_t bytes_sent = 0;  // to other ranks
};

/// A finished clip.
struct Clip {
  at::Tensor
      latents;    // float32 on CPU, [1, channels, frames, height, width], as diffusers' output_type="latent"
  Frames frames;  // rounded to nearest; on the replica's first rank
  at::Tensor
      text_embeds;  // float32 on CPU, [1, max_sequence_length, text dim], rows past the prompt's tokens zero
  int64_t text_tokens = 0;  // of the prompt
  std::vector<StageTime> times;
  std::vector<std::string> warnings;  // e.g. "prompt cut to 512 tokens"
  int64_t continued_from = 0;         // denoising steps that an earlier try had made
};

/// Work of one clip.
struct ItemCost {
  double flops = 0;             // all stages
  double weight_bytes = 0;      // parameters in memory at the chosen precision
  double activation_bytes = 0;  // largest stage
  std::vector<std::pair<std::string, double>> stage_flops;
};

/// One stage of a clip on the busiest rank of those that share it.
struct StageLoad {
  std::string stage;
  Dtype dtype = Dtype::float32;  // of its products
  Load load;
  bool beside_next = false;  // on a GPU it runs while the next clip is denoised, so both are in memory
};
using ClipLoad = std::vector<StageLoad>;

class Pipeline {
 public:
  virtual ~Pipeline() = default;
  /// Makes one clip; every rank of the replica calls it with the same request. Throws UserError (this item
  /// cannot be made; before decoding on every rank alike), StoppedEarly, or InternalError. What
  /// memory_shortage() knows passes through; then denoising is kept in `checkpoints`, so that the next try,
  /// on another rung, goes on from there.
  virtual Clip run(const Request& request, const RunContext& context) = 0;
};

/// What a model folder can do, from its json files alone.
class Blueprint {
 public:
  virtual ~Blueprint() = default;
  virtual const std::string& pipeline_class() const = 0;
  /// Sampling keys that some stage of this pipeline reads; any other key in a job or prompt line is an error.
  virtual const std::vector<std::string>& sampling_keys() const = 0;
  /// Notes what the model cannot take, saying what it needs ("height 250 must be a multiple of 16").
  virtual void check(const Sampling& sampling, const std::string& where, Problems& problems) const = 0;
  /// Notes what the text encoder cannot take of a prompt and its negative prompt.
  virtual void check_text(const std::string& prompt, const Sampling& sampling, const std::string& where,
                          Problems& problems) const = 0;
  virtual ItemCost cost(const Sampling& sampling, const PipelineOptions& options) const = 0;
  /// The same on the first rank of a replica that shares the clip: what the planner needs. Quick, since it is
  /// asked for thousands of splits.
  virtual ClipLoad cost(const Sampling& sampling, const PipelineOptions& options,
                        const Split& split) const = 0;
  virtual std::unique_ptr<Pipeline> load(const PipelineOptions& options) const = 0;
  /// What turns a video and its caption (Request::pixels) into the latents and embeddings that a clip of this
  /// model has, and runs on one rank. Throws UserError where the model has no such.
  virtual std::unique_ptr<Pipeline> load_encoder(const PipelineOptions& options) const {
    (void)options;
    fail(pipeline_class(), " cannot encode videos");
  }
};

/// Finds the pipeline by model_index.json's _class_name; checks every component's class and config; loads no
/// weights. `normalize_nfc`: Unicode normalisation form C, given by whoever has ICU (see
/// models/tokenizers/icu).
std::unique_ptr<Blueprint> make_blueprint(const ModelDir& model, NormalizeNfc normalize_nfc);

}  // namespace rushes
