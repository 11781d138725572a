#pragma once
// What makes two clips the same request, and its hash.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/settings.h"

namespace rushes {

/// What all items of a job have in common.
struct RequestFacts {
  std::string model;  // ModelDir::fingerprint()
  std::string numerics;
  std::string attention;  // the backend chosen, never "auto"
  std::string device;     // "cpu", "cuda"
  Dtype transformer = Dtype::float32;
  Dtype vae = Dtype::float32;
  Dtype text_encoder = Dtype::float32;
  std::string build;       // only for job: regress; "" leaves it out
  bool vae_tiles = false;  // asked for; not those of a clip that ran out of memory
};

/// Flat: {"model": ..., "prompt": ..., "sampling.height": 64, ..., "precision.vae": "float32", ...}. Of the
/// sampling keys those in `keys` and fps and seed, never samples. Neither layout nor paths.
nlohmann::json make_request(const RequestFacts& facts, const std::string& prompt, const Sampling& sampling,
                            const std::vector<std::string>& keys);

/// 128 bits over the request's canonical text (sorted keys, no spaces, shortest numbers): 32 hex digits.
std::string hash_request(const nlohmann::json& request);

/// The keys in which two requests differ, with both values: "sampling.height: 64, now 96".
std::vector<std::string> changed_keys(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace rushes
