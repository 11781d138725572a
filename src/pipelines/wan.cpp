#include "pipelines/wan.h"

#include <ATen/ATen.h>

#include <map>
#include <numeric>

#include "base/file.h"
#include "base/version.h"
#include "config/json_fields.h"
#include "dist/traffic.h"
#include "kernels/common/brgemm.h"
#include "models/dits/wan_cost.h"
#include "models/encoders/umt5.h"
#include "models/vaes/wan_vae_config.h"
#include "pipelines/component.h"
#include "pipelines/stages/decoding.h"
#include "pipelines/stages/denoising.h"
#include "pipelines/stages/encoding.h"
#include "pipelines/stages/input_validation.h"
#include "pipelines/stages/preparation.h"
#include "pipelines/stages/text_encoding.h"

namespace rushes {
namespace {

const std::vector<std::string> kSamplingKeys = {"height",
                                                "width",
                                                "num_frames",
                                                "fps",
                                                "num_inference_steps",
                                                "guidance_scale",
                                                "negative_prompt",
                                                "flow_shift",
                                                "max_sequence_length",
                                                "seed",
                                                "samples"};

/// Runs `make`, noting a UserError's problems instead of passing it on.
template <class Make>
auto note_problems(Problems& problems, Make make) -> decltype(make()) {
  try {
    return make();
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      problems.add(problem);
    return nullptr;
  }
}

class WanBlueprint : public Blueprint {
 public:
  WanBlueprint(const ModelDir& model, NormalizeNfc normalize_nfc);

  const std::string& pipeline_class() const override { return model_.pipeline_class(); }
  const std::vector<std::string>& sampling_keys() const override { return kSamplingKeys; }
  void check(const Sampling& sampling, const std::string& where, Problems& problems) const override;
  void check_text(const std::string& prompt, const Sampling& sampling, const std::string& where,
                  Problems& problems) const override;
  ItemCost cost(const Sampling& sampling, const PipelineOptions& options) const override;
  ClipLoad cost(const Sampling& sampling, const PipelineOptions& options, const Split& split) const override;
  std::unique_ptr<Pipeline> load(const PipelineOptions& options) const override;
  std::unique_ptr<Pipeline> load_encoder(const PipelineOptions& options) const override;

 private:
  std::unique_ptr<Stage> text_stage(const PipelineOptions& options) const;
  Reloadable<Vae> loaded_vae(const PipelineOptions& options) const;
  void read_pipeline_fields(Problems& problems);
  void check_fit(Problems& problems) const;
  void check_vae(Problems& problems) const;
  void check_transformers(Problems& problems) const;
  LatentGeometry geometry() const;

  ModelDir model_;
  NormalizeNfc normalize_nfc_;
  // On the meta device: shapes and configs without weights.
  std::shared_ptr<const Transformer> transformer_;
  std::shared_ptr<const Transformer> transformer_2_;  // where there is one
  std::shared_ptr<const Vae> vae_;
  std::shared_ptr<const TextEncoder> text_encoder_;
  std::shared_ptr<const Scheduler> scheduler_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool has_transformer_2_ = false;
  std::optional<double> boundary_ratio_;
  // The configs once more, read: costs are asked for often.
  WanConfig transformer_config_;
  WanVaeConfig vae_config_;
  T5Config text_config_;
  bool expand_timesteps_ = false;
};

WanBlueprint::WanBlueprint(const ModelDir& model, NormalizeNfc normalize_nfc)
    : model_(model), normalize_nfc_(std::move(normalize_nfc)) {
  const LoadOptions meta{.device = at::kMeta, .dtype = at::kFloat};
  Problems problems;
  transformer_ = note_problems(problems, [&] { return load_transformer(model_, "transformer", meta); });
  vae_ = note_problems(problems, [&] { return load_vae(model_, "vae", meta); });
  text_encoder_ = note_problems(problems, [&] { return load_text_encoder(model_, "text_encoder", meta); });
  scheduler_ = note_problems(problems, [&] { return load_scheduler(model_, "scheduler"); });
  tokenizer_ = note_problems(problems, [&] { return load_tokenizer(model_, "tokenizer"); });
  read_pipeline_fields(problems);
  if (has_transformer_2_) {
    transformer_2_ = note_problems(problems, [&] { return load_transformer(model_, "transformer_2", meta); });
  }
  check_fit(problems);
  problems.throw_if_any();
  transformer_config_ = read_wan_config(model_.component_config("transformer"), "transformer");
  vae_config_ = parse_wan_vae(model_.component_config("vae"), "vae");
  const bool t5 = model_.require("text_encoder").class_name == "T5EncoderModel";
  text_config_ = parse_t5_config(model_.component_config("text_encoder"),
                                 t5 ? T5Variant::t5 : T5Variant::umt5, "text encoder");
}

void WanBlueprint::read_pipeline_fields(Problems& problems) {
  const std::string where = (model_.path() / "model_index.json").string();
  const nlohmann::json& index = model_.index();
  if (index.contains("expand_timesteps")) {
    if (index["expand_timesteps"].is_boolean()) {
      expand_timesteps_ = index["expand_timesteps"].get<bool>();
    } else {
      problems.add(where, ": expand_timesteps: expected true or false, found ",
                   short_json(index["expand_timesteps"]));
    }
  }
  if (index.contains("boundary_ratio") && !index["boundary_ratio"].is_null()) {
    if (index["boundary_ratio"].is_number()) {
      boundary_ratio_ = index["boundary_ratio"].get<double>();
      if (!(*boundary_ratio_ >= 0 && *boundary_ratio_ <= 1))
        problems.add(where, ": boundary_ratio: ", *boundary_ratio_, " is outside 0 to 1");
    } else {
      problems.add(where, ": boundary_ratio: expected a number or null, found ",
                   short_json(index["boundary_ratio"]));
    }
  }
  if (index.contains("transformer_2") && !index["transformer_2"].is_array() &&
      !index["transformer_2"].is_null())
    problems.add(where, ": transformer_2: expected [library, class] or null, found ",
                 index["transformer_2"].type_name());
  has_transformer_2_ = model_.find("transformer_2") != nullptr;
  if (has_transformer_2_ != boundary_ratio_.has_value()) {
    problems.add(where, ": transformer_2 and boundary_ratio go together: there is ",
                 has_transformer_2_ ? "a transformer_2 without boundary_ratio"
                                    : "a boundary_ratio without transformer_2");
  }
}

/// The components must fit together.
void WanBlueprint::check_fit(Problems& problems) const {
  if (transformer_ && vae_) {
    if (transformer_->in_channels() != vae_->latent_channels()) {
      problems.add(model_.path().string(), ": the transformer takes ", transformer_->in_channels(),
                   " channels and the VAE makes ", vae_->latent_channels(),
                   "; text to video needs the same number");
    }
    if (transformer_->out_channels() != vae_->latent_channels()) {
      problems.add(model_.path().string(), ": the transformer gives ", transformer_->out_channels(),
                   " channels and the VAE takes ", vae_->latent_channels());
    }
  }
  if (transformer_ && text_encoder_ && transformer_->text_dim() != text_encoder_->dim()) {
    problems.add(model_.path().string(), ": the transformer's text_dim is ", transformer_->text_dim(),
                 " and the text encoder gives ", text_encoder_->dim());
  }
  check_vae(problems);
  check_transformers(problems);
}

/// Clips get the size that the config's scale factors promise, so the layers must keep the promise.
void WanBlueprint::check_vae(Problems& problems) const {
  if (!vae_) return;
  const std::string where = (model_.path() / "vae" / "config.json").string();
  const auto same = [&](const char* key, int64_t stated, int64_t built, const char* layers) {
    if (stated != built)
      problems.add(where, ": ", key, " is ", stated, ", but ", built, " follows from ", layers);
  };
  same("scale_factor_spatial", vae_->spatial_ratio(), vae_->built_spatial_ratio(), "dim_mult and patch_size");
  same("scale_factor_temporal", vae_->temporal_ratio(), vae_->built_temporal_ratio(), "temperal_downsample");
  if (vae_->video_channels() != 3) {
    problems.add(where, ": out_channels makes frames of ", vae_->video_channels(),
                 " channels; videos have 3 (red, green, blue)");
  }
}

void WanBlueprint::check_transformers(Problems& problems) const {
  const std::string root = model_.path().string();
  if (transformer_ && expand_timesteps_ && transformer_->patch_size() != std::vector<int64_t>{1, 2, 2}) {
    problems.add(root, ": expand_timesteps gives one time to each token of 1 x 2 x 2 latents, and the ",
                 "transformer's patch_size is ", join(transformer_->patch_size(), ", "));
  }
  if (!transformer_ || !transformer_2_) return;
  const auto same = [&](const char* what, const auto& first, const auto& second) {
    if (first == second) return;
    problems.add(root, ": transformer and transformer_2 make one clip in turn, but their ", what, " are ",
                 first, " and ", second);
  };
  same("in_channels", transformer_->in_channels(), transformer_2_->in_channels());
  same("out_channels", transformer_->out_channels(), transformer_2_->out_channels());
  same("text_dim", transformer_->text_dim(), transformer_2_->text_dim());
  same("patch_size", join(transformer_->patch_size(), ", "), join(transformer_2_->patch_size(), ", "));
}

LatentGeometry WanBlueprint::geometry() const {
  return {.channels = transformer_->in_channels(),
          .temporal_ratio = vae_->temporal_ratio(),
          .spatial_ratio = vae_->spatial_ratio()};
}

void check_multiple(int64_t value, int64_t of, const char* key, const std::string& where,
                    Problems& problems) {
  if (value % of == 0 && value > 0) return;
  const int64_t below = value / of * of;
  problems.add(where, ": ", key, " is ", value, "; this model needs a multiple of ", of, " (",
               below > 0 ? str(below, " or ") : std::string(), below + of, ")");
}

void WanBlueprint::check(const Sampling& sampling, const std::string& where, Problems& problems) const {
  const LatentGeometry latent = geometry();
  const std::vector<int64_t> patch = transformer_->patch_size();
  const Problems before = problems;
  check_multiple(sampling.height, latent.spatial_ratio * patch[1], "height", where, problems);
  check_multiple(sampling.width, latent.spatial_ratio * patch[2], "width", where, problems);
  // Frames: one, then whole groups of `temporal_ratio`; and latent frames fill whole patches.
  const int64_t group = latent.temporal_ratio * patch[0];
  const int64_t first = latent.temporal_ratio * (patch[0] - 1) + 1;
  if (sampling.num_frames < first || (sampling.num_frames - first) % group != 0) {
    const int64_t below =
        sampling.num_frames < first ? 0 : (sampling.num_frames - first) / group * group + first;
    problems.add(where, ": num_frames is ", sampling.num_frames, "; this model makes ", group, "k + ", first,
                 " frames (", below > 0 ? str(below, " or ", below + group) : str(first), ")");
  }
  if (problems.list().size() != before.list().size()) return;
  const std::vector<int64_t> shape = latent.shape(sampling);
  const char* keys[] = {"num_frames", "height", "width"};
  int64_t most = transformer_->max_positions();
  if (transformer_2_) most = std::min(most, transformer_2_->max_positions());
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t tokens = shape[axis + 2] / patch[axis];
    if (tokens > most) {
      problems.add(where, ": ", keys[axis], " makes ", tokens, " positions; this model knows ", most,
                   " (rope_max_seq_len)");
    }
  }
  try {
    scheduler_->start(sampling.num_inference_steps, sampling.flow_shift);
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      problems.add(where, ": ", problem);
  }
}

/// Only where the tokenizer has ids that the encoder's table lacks: then every text is looked at.
void WanBlueprint::check_text(const std::string& prompt, const Sampling& sampling, const std::string& where,
                              Problems& problems) const {
  const int64_t known = text_encoder_->vocabulary();
  if (tokenizer_->vocabulary() <= known) return;
  const auto check_one = [&](const std::string& text, const char* what) {
    const TokenIds tokens =
        tokenizer_->encode(clean_prompt(text, normalize_nfc_), sampling.max_sequence_length);
    for (size_t i = 0; i < tokens.input_ids.size(); ++i) {
      if (tokens.attention_mask[i] == 0 || tokens.input_ids[i] < known) continue;
      problems.add(where, ": ", what, ": has token ", tokens.input_ids[i], "; the text encoder knows ", known,
                   " (vocab_size), the tokenizer ", tokenizer_->vocabulary());
      return;
    }
  };
  check_one(prompt, "prompt");
  if (sampling.guidance_scale > 1) check_one(sampling.negative_prompt, "negative_prompt");
}

ItemCost WanBlueprint::cost(const Sampling& sampling, const PipelineOptions& options) const {
  const std::vector<int64_t> latent = geometry().shape(sampling);
  const int64_t forwards = sampling.num_inference_steps * (sampling.guidance_scale > 1.0 ? 2 : 1);
  const Cost step = wan_transformer_cost(model_.component_config("transformer"), latent[2], latent[3],
                                         latent[4], sampling.max_sequence_length, /*batch=*/1);
  const Cost decode = wan_vae_decode_cost(model_.component_config("vae"), sampling.num_frames,
                                          sampling.height, sampling.width);
  const Cost encode = umt5_cost(model_.component_config("text_encoder"), sampling.max_sequence_length);
  const auto bytes = [](Dtype dtype) { return dtype == Dtype::float32 ? 4.0 : 2.0; };
  ItemCost cost;
  if (options.encodes) {
    const Cost video = wan_vae_encode_cost(model_.component_config("vae"), sampling.num_frames,
                                           sampling.height, sampling.width);
    cost.stage_flops = {{"text encoding", encode.flops}, {"encoding", video.flops}};
    cost.flops = encode.flops + video.flops;
    cost.weight_bytes =
        (video.weight_bytes * bytes(options.vae) + encode.weight_bytes * bytes(options.text_encoder)) / 4;
    cost.activation_bytes = std::max(video.activation_bytes * bytes(options.vae),
                                     encode.activation_bytes * bytes(options.text_encoder)) /
                            4;
    return cost;
  }
  cost.stage_flops = {{"text encoding", encode.flops},
                      {"denoising", step.flops * static_cast<double>(forwards)},
                      {"decoding", decode.flops}};
  for (const auto& [stage, flops] : cost.stage_flops)
    cost.flops += flops;
  // Costs are stated for float32; the chosen formats scale them.
  cost.weight_bytes = step.weight_bytes * (has_transformer_2_ ? 2 : 1) * bytes(options.transformer) / 4 +
                      decode.weight_bytes * bytes(options.vae) / 4 +
                      encode.weight_bytes * bytes(options.text_encoder) / 4;
  cost.activation_bytes = std::max({step.activation_bytes * bytes(options.transformer) / 4,
                                    decode.activation_bytes * bytes(options.vae) / 4,
                                    encode.activation_bytes * bytes(options.text_encoder) / 4});
  return cost;
}

ClipLoad WanBlueprint::cost(const Sampling& sampling, const PipelineOptions& options,
                            const Split& split) const {
  const auto bytes = [](Dtype dtype) { return dtype == Dtype::float32 ? int64_t{4} : int64_t{2}; };
  const std::vector<int64_t> latent = geometry().shape(sampling);
  const bool guided = sampling.guidance_scale > 1.0;
  Load text;
  text.add(umt5_load(text_config_, sampling.max_sequence_length, split, bytes(options.text_encoder)),
           guided ? 2 : 1);
  const WanVideo video{.frames = sampling.num_frames,
                       .height = sampling.height,
                       .width = sampling.width,
                       .element = bytes(options.vae),
                       .folds = options.device.is_cpu() && options.vae == Dtype::float32};
  if (options.encodes)
    return {{"text encoding", options.text_encoder, text, /*beside_next=*/false},
            {"encoding", options.vae, wan_vae_encode_load(vae_config_, video), /*beside_next=*/false}};
  const WanClip clip{.frames = latent[2],
                     .height = latent[3],
                     .width = latent[4],
                     .text_tokens = sampling.max_sequence_length,
                     .steps = sampling.num_inference_steps,
                     .guided = guided,
                     .element = bytes(options.transformer)};
  Load steps = wan_denoising_load(transformer_config_, clip, split);
  if (has_transformer_2_) steps.weight_bytes *= 2;
  // The embeddings come from the encoder's ranks to all of the replica.
  const int64_t embedding = sampling.max_sequence_length * text_config_.d_model * bytes(options.text_encoder);
  steps.to(Group::replica).bytes +=
      static_cast<double>(broadcast_bytes(embedding, split.replica()) * (guided ? 2 : 1));
  steps.to(Group::replica).exchanges +=
      static_cast<double>(broadcast_depth(split.replica()) * (guided ? 2 : 1));
  const Load decode = wan_vae_decode_load(vae_config_, video, split);
  return {{"text encoding", options.text_encoder, text, /*beside_next=*/false},
          {"denoising", options.transformer, steps, /*beside_next=*/false},
          {"decoding", options.vae, decode, /*beside_next=*/true}};
}

LoadOptions load_options(const PipelineOptions& options, Dtype dtype, const Comm* together = nullptr) {
  return {.device = options.device,
          .dtype = scalar_type(dtype),
          .tp = together,
          .node_memory = options.node_memory};
}

std::unique_ptr<Pipeline> WanBlueprint::load(const PipelineOptions& options) const {
  const Groups* groups = options.groups;
  Reloadable<Vae> vae;
  if (groups == nullptr || groups->in_vae) vae = loaded_vae(options);

  const LoadOptions dit =
      load_options(options, options.transformer, groups != nullptr ? &groups->dit_tp : nullptr);
  DenoisingParts denoising;
  denoising.groups = groups;
  const auto transformer = [&](const char* key) {
    Reloadable<Transformer> part([model = model_, key, dit] { return load_transformer(model, key, dit); });
    part.get();
    return part;
  };
  denoising.transformer = transformer("transformer");
  if (has_transformer_2_) {
    denoising.transformer_2 = transformer("transformer_2");
    denoising.boundary_timestep = *boundary_ratio_ * static_cast<double>(scheduler_->train_timesteps());
  }
  denoising.expand_timesteps = expand_timesteps_;
  denoising.attention = options.attention;

  std::vector<std::unique_ptr<Stage>> stages;
  stages.push_back(std::make_unique<InputValidationStage>(*this));
  stages.push_back(text_stage(options));
  stages.push_back(std::make_unique<TimestepPreparationStage>(scheduler_));
  stages.push_back(std::make_unique<LatentPreparationStage>(geometry(), options.device));
  stages.push_back(std::make_unique<DenoisingStage>(std::move(denoising)));
  stages.push_back(std::make_unique<DecodingStage>(std::move(vae), options.device,
                                                   groups != nullptr ? &groups->vae : nullptr));
  return std::make_unique<ComposedPipeline>(std::move(stages), groups);
}

std::unique_ptr<Pipeline> WanBlueprint::load_encoder(const PipelineOptions& options) const {
  RUSHES_CHECK(options.groups == nullptr, "one rank encodes a clip");
  if (vae_->video_channels() != 3) fail("the VAE takes ", vae_->video_channels(), " channels, not RGB");
  std::vector<std::unique_ptr<Stage>> stages;
  stages.push_back(std::make_unique<InputValidationStage>(*this));
  stages.push_back(text_stage(options));
  stages.push_back(std::make_unique<EncodingStage>(loaded_vae(options), options.device));
  return std::make_unique<ComposedPipeline>(std::move(stages));
}

Reloadable<Vae> WanBlueprint::loaded_vae(const PipelineOptions& options) const {
  Reloadable<Vae> vae(
      [model = model_, load = load_options(options, options.vae)] { return load_vae(model, "vae", load); });
  vae.get();  // now, where what is wrong with it ends the run before any item starts
  return vae;
}

std::unique_ptr<Stage> WanBlueprint::text_stage(const PipelineOptions& options) const {
  const Groups* groups = options.groups;
  TextEncodingStage::Parts text;
  text.tokenizer = tokenizer_;
  text.normalize_nfc = normalize_nfc_;
  text.device = options.device;
  text.takes_part = groups == nullptr || groups->in_tp;
  text.encoder = Reloadable<TextEncoder>(
      [model = model_,
       load = load_options(options, options.text_encoder, groups != nullptr ? &groups->tp : nullptr)] {
        return load_text_encoder(model, "text_encoder", load);
      });
  text.cache_key = str(model_.fingerprint(), "|", dtype_name(options.text_encoder), "|",
                       options.device.type(), "|", cpu_arithmetic(), "|", build_identity(),
                       groups != nullptr && groups->plan.tp() > 1 ? str("|tp ", groups->plan.tp()) : "");
  return std::make_unique<TextEncodingStage>(std::move(text));
}

}  // namespace

std::unique_ptr<Blueprint> make_wan_blueprint(const ModelDir& model, NormalizeNfc normalize_nfc) {
  return std::make_unique<WanBlueprint>(model, std::move(normalize_nfc));
}

}  // namespace rushes
