#pragma once
// What a cluster's jobs usually ask for: slurm/sites/<site>.env, lines of KEY=value with the keys of the job
// file's `cluster:` section in capitals.

#include <filesystem>
#include <string>

#include "base/error.h"
#include "config/value.h"

namespace rushes {

/// The folder slurm/ that belongs to this program; see configs_folder().
std::filesystem::path slurm_folder();

struct Site {
  std::string file;  // as messages name it
  Value values;      // mapping, keys in small letters; SETUP's lines joined
};

/// `name`: of slurm/sites, or a path (with a '/', or ending in .env); "": $RUSHES_SITE, else "default".
/// Throws UserError for one that is not there or cannot be read.
Site read_site(const std::string& name);

}  // namespace rushes
