#pragma once
// Presets: sampling values that suit a known model, as YAML in configs/models/. A preset is chosen by what
// the model's own files say, never by how its path is spelt:
//
//   match: {pipeline: WanPipeline, transformer: {num_layers: 30, num_attention_heads: 12}, transformer_2:
//   null} sampling: {height: 480, width: 832}

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.h"
#include "config/value.h"
#include "weights/model_dir.h"

namespace rushes {

struct Preset {
  std::string file;
  Value sampling;  // mapping
};

/// The folder configs/ that belongs to this program: beside the folder of the executable, else where it was
/// built from. Throws UserError if it is neither here nor there.
std::filesystem::path configs_folder();

/// The preset whose `match` holds for the model: its pipeline class, and every named config field of every
/// named component. Nothing where none matches. A broken preset file and two that match are noted.
std::optional<Preset> find_preset(const std::filesystem::path& folder, const ModelDir& model,
                                  Problems& problems);

}  // namespace rushes
