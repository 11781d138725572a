#pragma once
// A clip as it lies on disk, in an output folder or among the references: its record and its files.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace rushes {

struct ClipFile {
  std::string kind;  // "video", "latents", "frames", "hdf5"
  std::string path;  // relative to ClipFiles::root
  uint64_t bytes = 0;
  std::string hash;  // XXH3-128
};

/// Is it compared, and so kept as a reference? A shard of a data set is not: it holds other clips too.
bool is_reference_kind(const std::string& kind);

struct ClipFiles {
  std::string id;
  std::filesystem::path root;
  bool done = false;      // else it was not made, and `error` says why
  std::string error;      // "": it was not tried yet
  nlohmann::json record;  // items/<id>.json; null where there is none
  std::vector<ClipFile> files;
  std::optional<double> min_ssim;  // the prompt line's own

  bool has(const std::string& kind) const;
  /// "prompt", "run", "code", ...: a text of the record; "" where it has none.
  std::string text(const char* key) const;
};

/// The files of this kind in their order; frames by their numbers.
std::vector<ClipFile> files_of_kind(const ClipFiles& clip, const std::string& kind);

/// What of the files of this kind is not as recorded, "" where all is well. Reads every byte.
std::string damage(const ClipFiles& clip, const std::string& kind);

/// The files of this kind have the same bytes in both, one by one.
bool same_bytes(const ClipFiles& a, const ClipFiles& b, const std::string& kind);

/// Cosine of the angle between the two clips' `latents` tensors, in float64 over all elements, whether they
/// are bit-equal, and the largest difference of two elements. Throws UserError where one is missing, broken
/// or of another shape.
struct LatentsBeside {
  double cosine = 0;
  bool equal = false;
  double distance = 0;
};
LatentsBeside compare_latents(const ClipFiles& a, const ClipFiles& b);

/// The "files" of a record. Throws UserError, with `where`, for paths that leave the folder or other
/// nonsense.
std::vector<ClipFile> files_of(const nlohmann::json& record, const std::string& where);

}  // namespace rushes
