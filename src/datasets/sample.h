#pragma once
// One clip of a data set: what was asked, what came of it, and how.

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace rushes {

/// The parts of a sample that are numbers, by these names:
///   latents      float32 [channels, frames, rows, columns], as the sampler ended (diffusers'
///   output_type="latent") text_embeds  float32 [max_sequence_length, text dim], rows past the prompt's
///   tokens zero text_mask    uint8 [max_sequence_length], 1 for the prompt's tokens frames       uint8
///   [frames, height, width, 3], RGB video        uint8 [bytes], an mp4 file
struct Sample {
  std::string id;
  std::string caption;
  std::string settings;    // JSON: how it was to be made
  std::string provenance;  // JSON: by what and where it was
  std::map<std::string, at::Tensor> parts;
};

inline constexpr const char* kVideoPart = "video";
/// The names of all parts, in the order above.
const std::vector<std::string>& sample_parts();

/// As one safetensors file, whole or not at all; texts in its metadata.
void write_sample(const std::filesystem::path& path, const Sample& sample, const std::string& owner);
/// Reads what write_sample wrote. Throws UserError for anything else.
Sample read_sample(const std::filesystem::path& path);

/// Samples of one bucket have parts of the same names, types and shapes, and so lie in one array:
/// "latents16x5x8x8-text_embeds512x4096-video".
std::string bucket_of(const Sample& sample);

}  // namespace rushes
