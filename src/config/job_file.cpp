#include "config/job_file.h"

#include <algorithm>

namespace rushes {
namespace {

constexpr int64_t kMaxSide = 16384;  // H.264's largest picture
constexpr int64_t kMaxRanks = 1 << 20;

/// A section that no key is known of; `open`: it is of a kind of job that is not there yet, and what is in it
/// is left alone.
Field<JobFile> keyless_section(const std::string& key, const std::string& meaning, bool open) {
  return {key, "a mapping", meaning,
          [open](JobFile&, const Value& value, const std::string& path, Reading& reading) {
            if (value.kind == Value::Kind::nothing) return;
            if (value.kind != Value::Kind::mapping)
              return reading.wrong(value, path, "a mapping (key: value)");
            if (open) return;
            for (const Entry& entry : value.entries)
              reading.problem(entry.line, path + "." + entry.key, "unknown key; ", path, " has none");
          },
          nullptr};
}

/// Sampling keys that stand above the prompts' own lines, as --set does. Only checked here: whoever layers
/// the settings takes them from the document.
Field<JobFile> override_section() {
  return {"override", "a mapping", "sampling keys that count more than a prompt's own line, as --set does",
          [](JobFile&, const Value& value, const std::string& path, Reading& reading) {
            Sampling scratch;
            read_fields(sampling_fields(), scratch, value, path + ".", reading);
          },
          nullptr};
}

Field<JobFile> prompts_field() {
  return {"prompts", "a path (.txt, .csv, .jsonl, .yaml) or a list of prompts", "what to make",
          [](JobFile& job, const Value& value, const std::string& path, Reading& reading) {
            const bool path_given = value.kind == Value::Kind::text && !value.text.empty();
            if (!path_given && value.kind != Value::Kind::list)
              return reading.wrong(value, path, "a path (.txt, .csv, .jsonl, .yaml) or a list of prompts");
            job.prompts = value;
            reading.took(path, value.line);
          },
          [](const JobFile& job) { return to_json(job.prompts); }};
}

Field<Precision> dtype_field(const std::string& key, std::optional<Dtype> Precision::*member,
                             const std::string& meaning) {
  std::vector<std::pair<std::string, std::optional<Dtype>>> choices = {{"auto", std::nullopt}};
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16, Dtype::float16})
    choices.emplace_back(dtype_name(dtype), dtype);
  return choice_field(key, member, choices, meaning);
}

/// Top-level sections whose keys are known, for hints.
std::vector<std::pair<std::string, std::vector<std::string>>> sections() {
  return {{"sampling", field_keys(sampling_fields())},     {"video", field_keys(video_fields())},
          {"parallel", field_keys(parallel_fields())},     {"precision", field_keys(precision_fields())},
          {"regression", field_keys(regression_fields())}, {"dataset", field_keys(dataset_fields())},
          {"cluster", field_keys(cluster_fields())}};
}

/// The full key of a top-level key that belongs into a section, or "".
std::string belongs_to(const std::string& key) {
  for (const auto& [section, keys] : sections()) {
    for (const std::string& known : keys) {
      if (known == key) return section + "." + key;
    }
  }
  return {};
}

}  // namespace

const Fields<Sampling>& sampling_fields() {
  using S = Sampling;
  static const Fields<S> fields = {
      whole_field("height", &S::height, {1, kMaxSide}, "pixels of the finished video"),
      whole_field("width", &S::width, {1, kMaxSide}, "pixels of the finished video"),
      whole_field("num_frames", &S::num_frames, {1, 1 << 16}, "frames of the finished video"),
      whole_field("fps", &S::fps, {1, 1000}, "frames a second of the finished video"),
      whole_field("num_inference_steps", &S::num_inference_steps, {1, 10000}, "denoising steps"),
      number_field("guidance_scale", &S::guidance_scale, {0, 1000},
                   "classifier-free guidance; 1 and less: none, and one forward pass a step"),
      text_field("negative_prompt", &S::negative_prompt, "what the video should not show"),
      number_or_null_field("flow_shift", &S::flow_shift, {1e-3, 1000},
                           "shift of the noise schedule; null: as the model's scheduler has it"),
      whole_field("max_sequence_length", &S::max_sequence_length, {1, 1 << 20},
                  "text tokens; longer prompts are cut"),
      whole_field("seed", &S::seed, {0, INT64_MAX}, "of the first sample; sample i has seed + i"),
      whole_field("samples", &S::samples, {1, 1000000}, "clips a prompt"),
  };
  return fields;
}

const Fields<VideoOptions>& video_fields() {
  using V = VideoOptions;
  static const Fields<V> fields = {
      choice_field<V, std::string>("codec", &V::codec, {{"h264", "h264"}}, "how frames are coded"),
      whole_field("crf", &V::crf, {0, 51}, "x264's constant rate factor: 0 lossless, 18 hardly visible loss"),
      choice_field<V, std::string>("container", &V::container, {{"mp4", "mp4"}}, "file format"),
  };
  return fields;
}

const Fields<Parallel>& parallel_fields() {
  using P = Parallel;
  const WholeRange ranks{1, kMaxRanks};
  static const Fields<P> fields = {
      whole_or_auto_field("dp", &P::dp, ranks, "replicas, each making clips of its own"),
      whole_or_auto_field("cfg", &P::cfg, {1, 2}, "2: guided and unguided pass on two halves of a replica"),
      whole_or_auto_field("sp", &P::sp, ranks, "ranks that share one clip's tokens"),
      whole_or_auto_field("ring", &P::ring, ranks, "the part of sp that works as a ring"),
      whole_or_auto_field("dit_tp", &P::dit_tp, ranks, "ranks that share the transformer's weights"),
      whole_or_auto_field("tp", &P::tp, ranks, "ranks that share the encoders' weights"),
      whole_or_auto_field("vae", &P::vae, ranks, "ranks that share the VAE's picture"),
  };
  return fields;
}

const Fields<Precision>& precision_fields() {
  using P = Precision;
  static const Fields<P> fields = {
      dtype_field("transformer", &P::transformer, "auto: float32 on cpu, bfloat16 on cuda"),
      dtype_field("vae", &P::vae, "auto: float32"),
      dtype_field("text_encoder", &P::text_encoder, "auto: float32 on cpu, bfloat16 on cuda"),
  };
  return fields;
}

const Fields<Regression>& regression_fields() {
  using R = Regression;
  static const Fields<R> fields = {
      text_field("references", &R::references, "folder of the videos to compare with"),
      number_field("min_ssim", &R::min_ssim, {0, 1}, "least SSIM of a clip that passes"),
  };
  return fields;
}

const Fields<DatasetOptions>& dataset_fields() {
  using D = DatasetOptions;
  static const Fields<D> fields = {
      choice_field<D, std::string>("pixels", &D::pixels,
                                   {{"video", "video"}, {"frames", "frames"}, {"none", "none"}},
                                   "what is kept of the pictures: an mp4 file, RGB frames, nothing"),
      whole_field("shard_clips", &D::shard_clips, {1, 100'000}, "clips of one HDF5 file"),
      whole_field("compression", &D::compression, {0, 9}, "zlib's level for arrays, 0: none"),
  };
  return fields;
}

const Fields<Submission>& cluster_fields() {
  using S = Submission;
  static const Fields<S> fields = {
      text_field("site", &S::site, "whose settings go below these: a name of slurm/sites, or a file"),
      text_field("name", &S::name, "of the batch job; without it the job file's"),
      text_field("partition", &S::partition, "Slurm's partition"),
      text_field("account", &S::account, "who pays"),
      text_field("qos", &S::qos, "Slurm's quality of service"),
      whole_field("nodes", &S::nodes, {1, 100'000}, "nodes of each batch job"),
      whole_or_auto_field("ranks_per_node", &S::ranks_per_node, {1, 4096},
                          "auto: as many as gpus_per_node, at least 1"),
      whole_field("gpus_per_node", &S::gpus_per_node, {0, 64}, "0: the batch runs on CPUs"),
      whole_field("cpus_per_rank", &S::cpus_per_rank, {0, 4096}, "0: Slurm's default"),
      text_field("memory", &S::memory, "of a node, as Slurm writes it: 64G; 0 is all of it"),
      text_field("time", &S::time, "limit of the batch job, as Slurm writes it: 12:00:00"),
      whole_field("array", &S::array, {1, 10'000}, "batch jobs that share the items"),
      choice_field<S, std::string>("launcher", &S::launcher,
                                   {{"mpirun", "mpirun"}, {"srun", "srun"}, {"srun:none", "srun:none"}},
                                   "what starts the ranks; srun:none: ranks that know nothing of each other"),
      whole_field("warning_seconds", &S::warning_seconds, {10, 65'535},
                  "between Slurm's warning and the time limit"),
      choice_field<S, bool>("requeue", &S::requeue, {{"on", true}, {"off", false}},
                            "back into the queue where work is left"),
      text_field("after", &S::after, "what has to end first: afterok:123, singleton"),
      text_field("options", &S::options, "further options of sbatch"),
      text_field("setup", &S::setup, "lines of shell before the batch starts"),
      text_field("device", &S::device, "for the prediction: a name of configs/clusters or a file"),
  };
  return fields;
}

const Fields<JobFile>& job_fields() {
  using J = JobFile;
  static const Fields<J> fields = {
      choice_field<J, JobKind>("job", &J::kind,
                               {{"generate", JobKind::generate},
                                {"regress", JobKind::regress},
                                {"preprocess", JobKind::preprocess},
                                {"train", JobKind::train}},
                               "what to do"),
      text_field("model", &J::model, "an existing folder, else org/name[@revision]"),
      prompts_field(),
      text_field("output", &J::output, "folder of the results; {date}, {job}, {model} are filled in"),
      words_field("save", &J::save, {"video", "latents", "frames", "hdf5"}, "what is kept of each clip"),
      section_field("video", &J::video, video_fields, "the video files"),
      section_field("sampling", &J::sampling, sampling_fields, "how each clip is made"),
      override_section(),
      section_field("parallel", &J::parallel, parallel_fields, "ranks along each axis"),
      section_field("precision", &J::precision, precision_fields, "number format of each part"),
      choice_field<J, std::string>(
          "attention", &J::attention,
          {{"auto", "auto"}, {"flash", "flash"}, {"reference", "reference"}, {"sdpa", "sdpa"}},
          "attention backend"),
      choice_field<J, DeviceKind>(
          "device", &J::device,
          {{"auto", DeviceKind::automatic}, {"cpu", DeviceKind::cpu}, {"cuda", DeviceKind::cuda}},
          "where to run; auto: cuda where there is a GPU"),
      choice_field<J, VaeTiling>(
          "vae_tiling", &J::vae_tiling,
          {{"auto", VaeTiling::automatic}, {"on", VaeTiling::on}, {"off", VaeTiling::off}},
          "code pictures in blended tiles, for less memory; auto: of a clip that ran out of it"),
      section_field("regression", &J::regression, regression_fields, "job: regress"),
      section_field("dataset", &J::dataset, dataset_fields, "save: [hdf5]"),
      choice_field<J, Numerics>("numerics", &J::numerics,
                                {{"diffusers", Numerics::diffusers},
                                 {"official", Numerics::official},
                                 {"fastvideo", Numerics::fastvideo}},
                                "whose arithmetic to follow"),
      whole_field("retries", &J::retries, {0, 1000}, "how often a rerun tries a failed item again"),
      whole_field("checkpoint_seconds", &J::checkpoint_seconds, {0, 1000000},
                  "seconds between two checkpoints of a clip; 0: only where the run is stopped"),
      text_field("metrics", &J::metrics,
                 "file (.prom) or folder for Prometheus; empty: metrics.prom in the output folder"),
      words_field("reject", &J::reject, {"black", "noise"}, "clips that fail for how they look; may be empty",
                  /*may_be_empty=*/true),
      section_field("cluster", &JobFile::cluster, cluster_fields,
                    "submit: what the batch system is asked for"),
      keyless_section("preprocess", "job: preprocess, which needs no more than the other sections say",
                      /*open=*/false),
      keyless_section("train", "job: train", /*open=*/true),
  };
  return fields;
}

bool makes_video(const std::vector<std::string>& save, const DatasetOptions& dataset) {
  const auto saves = [&](const char* kind) {
    return std::find(save.begin(), save.end(), kind) != save.end();
  };
  return saves("video") || (saves("hdf5") && dataset.pixels == "video");
}

void read_job(const Value& document, JobFile& job, Reading& reading) {
  if (document.kind != Value::Kind::mapping) return read_fields(job_fields(), job, document, "", reading);
  Value rest = document;
  std::erase_if(rest.entries, [&](const Entry& entry) {
    if (find_field(job_fields(), entry.key)) return false;
    const std::string home = belongs_to(entry.key);
    if (home.empty()) return false;
    reading.problem(entry.line, entry.key, "unknown key; did you mean '", home, "'?");
    return true;
  });
  read_fields(job_fields(), job, rest, "", reading);
}

Value nested(const std::string& path, Value value) {
  Value inner = std::move(value);
  inner.quoted = false;
  inner.line = 0;
  for (size_t end = path.size(); end != std::string::npos;) {
    const size_t dot = end == 0 ? std::string::npos : path.rfind('.', end - 1);
    const size_t start = dot == std::string::npos ? 0 : dot + 1;
    Value outer;
    outer.kind = Value::Kind::mapping;
    outer.entries.push_back({path.substr(start, end - start), 0, std::move(inner)});
    inner = std::move(outer);
    end = dot;
  }
  return inner;
}

}  // namespace rushes
