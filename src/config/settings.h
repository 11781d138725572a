#pragma once
// The settings of a job as plain values. Names, defaults and meanings are the job file's (see README, "The
// job file").

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rushes {

/// How one clip is made. Sizes are in pixels and frames of the finished video.
struct Sampling {
  int64_t height = 480;
  int64_t width = 832;
  int64_t num_frames = 81;
  int64_t fps = 16;
  int64_t num_inference_steps = 50;
  double guidance_scale = 5.0;  // classifier-free guidance; <= 1 means one forward a step, no negative prompt
  std::string negative_prompt;
  std::optional<double> flow_shift;   // unset: as the model's scheduler_config.json says
  int64_t max_sequence_length = 512;  // text tokens; longer prompts are cut
  int64_t seed = 42;                  // of the first sample; sample i has seed + i
  int64_t samples = 1;                // clips a prompt
};

/// Ranks along each axis; unset is `auto`. world = dp x replica, replica = cfg x sp x dit_tp, ring divides
/// sp.
struct Parallel {
  std::optional<int64_t> dp;
  std::optional<int64_t> cfg;
  std::optional<int64_t> sp;
  std::optional<int64_t> ring;
  std::optional<int64_t> dit_tp = 1;
  std::optional<int64_t> tp;
  std::optional<int64_t> vae;
};

enum class Dtype { float32, bfloat16, float16 };
const char* dtype_name(Dtype dtype);
std::optional<Dtype> dtype_from_name(const std::string& name);

/// Number format of each part's weights and arithmetic; unset: float32 on CPU; bfloat16 on CUDA, there VAE
/// float32.
struct Precision {
  std::optional<Dtype> transformer;
  std::optional<Dtype> vae;
  std::optional<Dtype> text_encoder;
};

struct VideoOptions {
  std::string codec = "h264";     // h264
  int64_t crf = 18;               // x264's constant rate factor, 0 (lossless) to 51
  std::string container = "mp4";  // mp4
};

/// save: [hdf5]
struct DatasetOptions {
  std::string pixels = "video";  // video (an mp4 file), frames (RGB), none
  int64_t shard_clips = 64;      // of one HDF5 file
  int64_t compression = 1;       // zlib's level of arrays of numbers, 0: none
};

struct Regression {
  std::string references;
  double min_ssim = 0.98;
};

/// cluster: what `rushes submit` asks a batch system for. "" (and 0 where it is said): Slurm's own default.
struct Submission {
  std::string site;  // a name of slurm/sites or a path; "": default
  std::string name;  // of the batch job; "": the job file's
  std::string partition, account, qos;
  int64_t nodes = 1;
  std::optional<int64_t> ranks_per_node;  // unset: gpus_per_node, at least 1
  int64_t gpus_per_node = 0;
  int64_t cpus_per_rank = 0;        // 0: Slurm's default
  std::string memory;               // of a node, as Slurm writes it: 64G, 0 for all
  std::string time;                 // limit, as Slurm writes it: 90, 12:00:00, 2-00:00:00
  int64_t array = 1;                // batch jobs that share the items
  std::string launcher = "mpirun";  // mpirun, srun, srun:none
  int64_t warning_seconds = 120;    // before the time limit
  bool requeue = true;              // where work is left
  std::string after;                // a dependency: afterok:123, singleton
  std::string options;              // further options of sbatch, separated by spaces
  std::string setup;                // lines of shell before the batch starts
  std::string device;               // for the prediction: a name of configs/clusters or a file
};

/// Does the VAE code pictures in blended tiles? automatic: of a clip that ran out of memory.
enum class VaeTiling { automatic, on, off };

enum class JobKind { generate, regress, preprocess, train };
enum class DeviceKind { automatic, cpu, cuda };
enum class Numerics { diffusers, official, fastvideo };

}  // namespace rushes
